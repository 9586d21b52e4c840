package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/queue"
)

const (
	completeTimeout = 2 * time.Second // a shell waits for it
	completeMost    = 200
)

// complete asks the server for candidates; without an answer there are none. Settings are
// loaded here, as no verb runs.
func (a *app) complete(cmd *cobra.Command, prefix string, ask func(context.Context, *operator.Client, func(string, string)) error) ([]string, cobra.ShellCompDirective) {
	if err := a.load(); err != nil {
		cobra.CompErrorln(err.Error())
		return nil, cobra.ShellCompDirectiveError
	}
	c, err := a.connect(-1)
	if err != nil {
		cobra.CompErrorln(err.Error())
		return nil, cobra.ShellCompDirectiveError
	}
	defer c.Close()
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	var found []string
	err = ask(ctx, c, func(word, about string) {
		if !strings.HasPrefix(word, prefix) || len(found) >= completeMost || word != safetext.Line(word) {
			return
		}
		if about != "" {
			word += "\t" + safetext.Line(about)
		}
		if !slices.Contains(found, word) {
			found = append(found, word)
		}
	})
	if err != nil {
		cobra.CompErrorln(err.Error())
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeHosts(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		for h, err := range c.Hosts(ctx, operator.HostQuery{Limit: 1000}) {
			if err != nil {
				return err
			}
			add(h.ID, presence(h))
		}
		return nil
	})
}

// completeHost is for the one argument that is a host.
func (a *app) completeHost(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeHosts(cmd, args, prefix)
}

func (a *app) completeJob(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		l, err := c.JobPage(ctx, "", 100)
		for _, j := range l.Jobs {
			add(j.ID, strings.TrimSpace(fmt.Sprintf("%s, %s ago, %s %s", jobStatus(j), age(j.CreatedAt), ctl.Plural(j.Targets, "host"), j.Name)))
		}
		return err
	})
}

// completeJobAndTargets is for a job and hosts of it.
func (a *app) completeJobAndTargets(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeJob(cmd, args, prefix)
	}
	return a.completeTargets(cmd, args, prefix)
}

// completeTargets is for hosts of the job that is the first argument.
func (a *app) completeTargets(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeHosts(cmd, args, prefix)
	}
	return a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		for h, err := range c.Targets(ctx, args[0]) {
			if err != nil {
				return err
			}
			if !slices.Contains(args[1:], h) {
				add(h, "")
			}
		}
		return nil
	})
}

// completeLanes knows the lanes that every host has, and those of recent jobs.
func (a *app) completeLanes(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		add(string(queue.LaneDefault), "")
		add(string(queue.LaneUrgent), "")
		l, err := c.JobPage(ctx, "", 200)
		for _, j := range l.Jobs {
			add(j.Lane, "")
		}
		return err
	})
}

// completeStates offers the states that the job's executions are in, or all.
func (a *app) completeStates(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	before := ""
	if i := strings.LastIndexByte(prefix, ','); i >= 0 {
		before, prefix = prefix[:i+1], prefix[i+1:]
	}
	words, directive := a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		if len(args) == 0 {
			for _, s := range stateNames() {
				add(s, "")
			}
			return nil
		}
		j, err := c.Job(ctx, args[0], operator.JobOptions{})
		for _, s := range stateNames() {
			if n := j.Counters[s]; n > 0 {
				add(s, ctl.Plural(n, "execution"))
			}
		}
		return err
	})
	for i, w := range words {
		words[i] = before + w
	}
	return words, directive
}

// completeSelector offers the labels that hosts have, for the requirement that is being typed.
func (a *app) completeSelector(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	before := ""
	if i := strings.LastIndexByte(prefix, ','); i >= 0 {
		before, prefix = prefix[:i+1], prefix[i+1:]
	}
	words, directive := a.complete(cmd, prefix, func(ctx context.Context, c *operator.Client, add func(string, string)) error {
		l, err := c.HostPage(ctx, operator.HostQuery{Limit: 1000})
		for _, h := range l.Hosts {
			for _, k := range sortedKeys(h.Labels) {
				add(k+"="+h.Labels[k], "")
			}
		}
		return err
	})
	for i, w := range words {
		words[i] = before + w
	}
	return words, directive | cobra.ShellCompDirectiveNoSpace
}
