package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

func (a *app) jobShow() *cobra.Command {
	var (
		sel        selectFlags
		executions bool
		script     bool
		limit      int
	)
	cmd := &cobra.Command{
		Use:   "show JOB [HOST]",
		Short: "Show a job, its executions, or one of them",
		Long: `Show prints a job and how far it is; with a host, the execution there; with
--executions, --state or --failed, a list of executions; with --script, the
script and nothing else.`,
		Args: takes("a job, and perhaps a host", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, states := cmd.Context(), sel.selected()
			switch {
			case len(args) == 2 && (script || executions || len(states) > 0):
				return ctl.Usagef("a host goes with none of --script, --executions, --state and --failed")
			case script && (executions || len(states) > 0):
				return ctl.Usagef("--script goes with none of --executions, --state and --failed")
			case script:
				return a.showScript(ctx, c, args[0])
			case len(args) == 2:
				return a.showExecution(ctx, c, args[0], args[1])
			case executions || len(states) > 0:
				return a.listExecutions(ctx, c, operator.ExecutionQuery{Job: args[0], States: states}, limit)
			}
			return a.showJob(ctx, c, args[0])
		},
		ValidArgsFunction: a.completeJobAndTargets,
	}
	f := cmd.Flags()
	sel.add(a, cmd, false)
	f.BoolVar(&executions, "executions", false, "list all executions")
	f.BoolVar(&script, "script", false, "print the script")
	f.IntVar(&limit, "limit", 0, "how many executions to list; 0 = all")
	return cmd
}

// briefList is up to how many executions are listed below a job.
const briefList = 10

func (a *app) showJob(ctx context.Context, c *operator.Client, id string) error {
	j, err := c.Job(ctx, id, operator.JobOptions{})
	if err != nil {
		return err
	}
	if !a.isTable() {
		return a.emit(j)
	}
	t := newTable(a.out)
	t.row("job", j.ID)
	optional(t, "name", j.Name)
	t.row("created", when(&j.CreatedAt)+" by "+j.CreatedBy)
	optional(t, "rerun of", j.RerunOf)
	t.row("targets", fmt.Sprintf("%d, by %s", j.Targets, j.Selection))
	t.row("status", jobStatus(j))
	t.row("done", fmt.Sprintf("%d, of these %d failed; %d outstanding", j.Done, j.Failed, j.Outstanding))
	t.row("states", counters(j.Counters, stateNames()))
	if j.FinishedAt != nil {
		t.row("finished", when(j.FinishedAt)+", after "+ctl.Span(j.FinishedAt.Sub(j.CreatedAt)))
	}
	t.row("lane", fmt.Sprintf("%s, priority %d", j.Lane, j.Priority))
	if j.NotBefore != nil {
		t.row("not before", when(j.NotBefore))
	}
	t.row("policies", policies(j))
	t.row("timeouts", fmt.Sprintf("pickup %s, run %s, grace %s", short(j.PickupTimeout), short(j.RunTimeout), short(j.Grace)))
	t.row("script", fmt.Sprintf("%s, SHA-256 %.16s...", ctl.Bytes(j.ScriptSize), j.ScriptSHA256))
	optional(t, "user", j.User)
	optional(t, "dir", j.Dir)
	if len(j.Env) > 0 {
		t.row("env", strings.Join(sortedKeys(j.Env), ", "))
	}
	if err := t.flush(); err != nil {
		return err
	}
	q := operator.ExecutionQuery{Job: id, Limit: briefList + 1}
	if j.Targets > briefList {
		if j.Failed == 0 {
			a.notef("\nTo list the executions:\n  %s job show --executions %s", a.command(), j.ID)
			return nil
		}
		q.States = ctl.FailureStates()
	}
	if _, err := a.out.W.Write([]byte("\n")); err != nil {
		return err
	}
	return a.listExecutions(ctx, c, q, briefList)
}

func (a *app) listExecutions(ctx context.Context, c *operator.Client, q operator.ExecutionQuery, limit int) error {
	if q.Limit == 0 {
		q.Limit = pageSize(limit)
	}
	return list(a, listing[api.Execution]{
		items: c.Executions(ctx, q), limit: limit, key: "executions",
		header: []string{"HOST", "STARTED", "TOOK", "OUTPUT", "STATE"}, wrap: true,
		row: func(x api.Execution) []string {
			return []string{x.Host, when(x.StartedAt), took(x), ctl.Bytes(x.Output.Stdout + x.Output.Stderr), ctl.Outcome(x)}
		},
		empty: "There are no such executions.",
		more:  fmt.Sprintf("There are more. All of them:\n  %s job show %s %s", a.command(), stateFlags(q.States), q.Job),
	})
}

func stateFlags(states []string) string {
	if len(states) == 0 {
		return "--executions"
	}
	return "--state " + strings.Join(states, ",")
}

func (a *app) showExecution(ctx context.Context, c *operator.Client, job, host string) error {
	x, err := c.Execution(ctx, job, host)
	if err != nil {
		return err
	}
	if !a.isTable() {
		return a.emit(x)
	}
	t := newTable(a.out)
	t.row("execution", x.ID)
	t.row("host", x.Host)
	t.row("state", ctl.Outcome(x))
	if x.Why != nil {
		t.row("why", x.Why.Text)
	}
	t.row("lane", fmt.Sprintf("%s, priority %d", x.Lane, x.Priority))
	t.row("deliveries", strconv.Itoa(x.Deliveries))
	for _, l := range []struct {
		name string
		at   *time.Time
	}{{"released", x.ReleasedAt}, {"not before", x.NotBefore}, {"deliver until", x.DeliverUntil}, {"leased", x.LeasedAt},
		{"accepted", x.AcceptedAt}, {"started", x.StartedAt}, {"cancel asked for", x.CancelledAt}, {"finished", x.FinishedAt}} {
		if l.at != nil {
			t.row(l.name, when(l.at))
		}
	}
	if x.StartedAt != nil {
		t.row("took", took(x))
	}
	out := fmt.Sprintf("%s to stdout, %s to stderr", ctl.Bytes(x.Output.Stdout), ctl.Bytes(x.Output.Stderr))
	t.row("output", strings.Join(append([]string{out}, ctl.Missing(x.Output)...), "; "))
	return t.flush()
}

func (a *app) showScript(ctx context.Context, c *operator.Client, id string) error {
	j, err := c.Job(ctx, id, operator.JobOptions{Script: true})
	if err != nil {
		return err
	}
	if !a.isTable() {
		return a.emit(j)
	}
	script := []byte(j.Script)
	if len(j.ScriptBase64) > 0 {
		script = j.ScriptBase64
	}
	if a.out.TTY {
		var clean safetext.Cleaner
		script = clean.Flush(clean.Append(nil, script))
	}
	_, err = a.out.W.Write(script)
	return err
}

// took is how long an execution ran, or runs.
func took(x api.Execution) string {
	switch {
	case x.StartedAt == nil:
		return "-"
	case x.FinishedAt == nil:
		return age(*x.StartedAt) + "..."
	}
	return ctl.Span(x.FinishedAt.Sub(*x.StartedAt))
}

// policies says what becomes of a job's executions that can't be delivered at once.
func policies(j api.Job) string {
	text := "waits for hosts that are offline"
	if j.Offline == string(queue.OfflineSkip) {
		text = "skips hosts that are offline"
	}
	if j.SupersedeKey != "" {
		text += "; supersedes by the key " + j.SupersedeKey
	}
	if j.Recheck != "" {
		text += "; rechecks " + j.Recheck
	}
	return text
}

func optional(t *table, name, value string) {
	if value != "" {
		t.row(name, value)
	}
}

// short writes a duration as set: 24h0m0s is 24h.
func short(d api.Duration) string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func stateNames() []string {
	var names []string
	for _, s := range queue.States() {
		names = append(names, s.String())
	}
	return names
}
