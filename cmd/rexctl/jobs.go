package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/gateway/api"
)

// watchFlags are the flags of verbs that watch a job.
type watchFlags struct {
	output   string
	deadline time.Duration
}

func (w *watchFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&w.output, "output", string(ctl.OutputAll), "whose output to print: none, failed or all")
	f.DurationVar(&w.deadline, "deadline", 0, "end the watch after this time with exit status 4; the job goes on")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"none", "failed", "all"}, cobra.ShellCompDirectiveNoFileComp))
}

func (w *watchFlags) apply(v *ctl.View) error {
	v.Output, v.Deadline = ctl.Mode(w.output), w.deadline
	switch v.Output {
	case ctl.OutputAll, ctl.OutputFailed, ctl.OutputNone:
	default:
		return ctl.Usagef("--output: %q is none of none, failed, all", w.output)
	}
	if w.deadline < 0 {
		return ctl.Usagef("--deadline: %v is negative", w.deadline)
	}
	return nil
}

// selectFlags are the flags that select executions of a job.
type selectFlags struct {
	hosts    []string
	selector string
	states   []string
	failed   bool
}

func (s *selectFlags) add(a *app, cmd *cobra.Command, hosts bool) {
	f := cmd.Flags()
	if hosts {
		f.StringArrayVar(&s.hosts, "host", nil, "only the host with this `ID` (repeatable)")
		f.StringVarP(&s.selector, "selector", "l", "", "only hosts whose labels match now, such as role=web,!old")
		_ = cmd.RegisterFlagCompletionFunc("host", a.completeTargets)
		_ = cmd.RegisterFlagCompletionFunc("selector", a.completeSelector)
	}
	f.StringSliceVar(&s.states, "state", nil, "only executions in these `states` (repeatable)")
	f.BoolVar(&s.failed, "failed", false, "only what failed: "+strings.Join(ctl.FailureStates(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("state", a.completeStates)
}

// selected gives the states that were asked for; nil = all.
func (s *selectFlags) selected() []string {
	states := slices.Clone(s.states)
	if s.failed {
		states = append(states, ctl.FailureStates()...)
	}
	slices.Sort(states)
	return slices.Compact(states)
}

func (s *selectFlags) selection(cmd *cobra.Command) (api.Selection, error) {
	sel := api.Selection{Hosts: s.hosts, States: s.selected()}
	if cmd.Flags().Changed("selector") {
		switch {
		case s.selector == "":
			return sel, ctl.Usagef("--selector is empty; leave it out for all hosts of the job")
		case len(s.hosts) > 0:
			return sel, ctl.Usagef("give only one of --host and --selector")
		}
		sel.Selector = &s.selector
	}
	return sel, nil
}

// jobStatus says in a word or two where a job is.
func jobStatus(j api.Job) string {
	switch {
	case j.FinishedAt != nil && j.Counters["succeeded"] == j.Targets:
		return "succeeded"
	case j.FinishedAt != nil && j.Failed > 0:
		return "failed"
	case j.FinishedAt != nil && j.Counters["cancelled"] > 0:
		return "cancelled"
	case j.FinishedAt != nil:
		return "done"
	case j.Control != "active":
		return j.Control
	case j.Counters["running"] > 0:
		return "running"
	}
	return "waiting"
}

// counters writes the states that have executions.
func counters(c api.Counters, order []string) string {
	var parts []string
	for _, s := range order {
		if c[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// parsePairs reads K=V arguments; lookup gives the value of a bare K, nil = none has one.
func parsePairs(flag string, args []string, lookup func(string) (string, bool)) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(args))
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok && lookup != nil {
			if v, ok = lookup(k); !ok {
				return nil, ctl.Usagef("%s: %q has no value, and the environment has no such variable; give %s=VALUE", flag, a, k)
			}
		}
		if !ok || k == "" {
			return nil, ctl.Usagef("%s: %q is not KEY=VALUE", flag, a)
		}
		if _, twice := m[k]; twice {
			return nil, ctl.Usagef("%s: %s is given twice", flag, k)
		}
		m[k] = v
	}
	return m, nil
}
