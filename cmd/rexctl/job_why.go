package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

func (a *app) jobWhy() *cobra.Command {
	var (
		limit int
		all   bool
	)
	cmd := &cobra.Command{
		Use:   "why JOB [HOST...]",
		Short: "Say why a job hasn't ended yet",
		Long: `Why says of each execution that hasn't ended what it waits for: a host that is
offline, its next poll, another job, and so on. Of many hosts, it sums up and
shows the first.`,
		Args: takes("a job, and perhaps hosts", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if limit < 1 {
				return ctl.Usagef("--limit: %d is not possible; use --all for all hosts", limit)
			}
			if all {
				limit = 0
			}
			return a.why(cmd.Context(), c, args[0], args[1:], limit)
		},
		ValidArgsFunction: a.completeJobAndTargets,
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many hosts the table shows")
	cmd.Flags().BoolVar(&all, "all", false, "show all hosts")
	cmd.MarkFlagsMutuallyExclusive("limit", "all")
	return cmd
}

// whyView says to programs why a job hasn't ended.
type whyView struct {
	Job        string          `json:"job"`
	Targets    int             `json:"targets"`
	Waiting    int             `json:"waiting"` // of the targets, or of the hosts that were named
	Reasons    map[string]int  `json:"reasons"` // how many, by code
	Executions []api.Execution `json:"executions"`
}

// manyWaiting is from how many executions on it takes seconds.
const manyWaiting = 5000

func (a *app) why(ctx context.Context, c *operator.Client, id string, hosts []string, limit int) error {
	j, err := c.Job(ctx, id, operator.JobOptions{})
	if err != nil {
		return err
	}
	if len(hosts) == 0 && j.Outstanding > manyWaiting && a.isTable() {
		a.notef("Asking about %d hosts...", j.Outstanding)
	}
	v := whyView{Job: j.ID, Targets: j.Targets, Reasons: map[string]int{}, Executions: []api.Execution{}}
	for x, err := range waiting(ctx, c, id, hosts) {
		if err != nil {
			return err
		}
		if x.Why != nil {
			v.Waiting++
			v.Reasons[x.Why.Code]++
		}
		if x.Why == nil && len(hosts) == 0 {
			continue // it has ended since
		}
		if ctl.Format(a.format) == ctl.JSONL {
			if err := a.emit(x); err != nil {
				return err
			}
		} else if len(v.Executions) < limit || limit == 0 || len(hosts) > 0 || !a.isTable() {
			v.Executions = append(v.Executions, x)
		}
	}
	switch ctl.Format(a.format) {
	case ctl.JSON:
		return a.emit(v)
	case ctl.JSONL:
		return nil
	}
	return a.printWhy(j, v, hosts)
}

// waiting gives the executions that haven't ended, or those of the hosts that are named.
func waiting(ctx context.Context, c *operator.Client, id string, hosts []string) iter.Seq2[api.Execution, error] {
	if len(hosts) == 0 {
		var states []string
		for _, s := range queue.States() {
			if !s.Terminal() {
				states = append(states, s.String())
			}
		}
		return c.Executions(ctx, operator.ExecutionQuery{Job: id, States: states, Limit: 1000, Why: true})
	}
	return func(yield func(api.Execution, error) bool) {
		for _, h := range hosts {
			if x, err := c.Execution(ctx, id, h); !yield(x, err) || err != nil {
				return
			}
		}
	}
}

func (a *app) printWhy(j api.Job, v whyView, hosts []string) error {
	if err := a.say(sumWhy(j, v, hosts)); err != nil {
		return err
	}
	if len(v.Executions) == 0 {
		return nil
	}
	t := newTable(a.out, "HOST", "STATE", "WHY")
	t.wrap = true
	for _, x := range v.Executions {
		t.row(x.Host, x.State, reason(x))
	}
	if _, err := a.out.W.Write([]byte("\n")); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	if i := slices.IndexFunc(v.Executions, isDuplicate); i >= 0 {
		a.notef("\nStop one of the two machines, then:\n  %s host resolve %s", a.command(), v.Executions[i].Host)
	}
	if more := v.Waiting - len(v.Executions); more > 0 && len(hosts) == 0 {
		a.notef("\n%d more. All of them:\n  %s job why --all %s", more, a.command(), j.ID)
	}
	return nil
}

// say writes a sentence, in lines as wide as the terminal.
func (a *app) say(text string) error {
	text = safetext.Line(text)
	if a.out.TTY && a.out.Width != nil && a.out.Width() > 1 {
		text = strings.Join(ctl.Wrap(text, a.out.Width()), "\n")
	}
	_, err := a.out.W.Write([]byte(text + "\n"))
	return err
}

func isDuplicate(x api.Execution) bool {
	return x.Why != nil && queue.WaitCode(x.Why.Code) == queue.WaitDuplicate
}

// reason says why an execution hasn't ended, or that it has.
func reason(x api.Execution) string {
	if x.Why != nil {
		return x.Why.Text
	}
	return "It has ended: " + ctl.Outcome(x) + "."
}

// sumWhy is the summary: how many wait, by reason.
func sumWhy(j api.Job, v whyView, hosts []string) string {
	of := j.Targets
	if len(hosts) > 0 {
		of = len(hosts)
	}
	switch {
	case j.FinishedAt != nil:
		return fmt.Sprintf("The job has ended, %s: %s.", ctl.When(*j.FinishedAt), counters(j.Counters, stateNames()))
	case v.Waiting == 0 && len(hosts) > 0:
		return fmt.Sprintf("On %s it has ended.", ctl.Plural(of, "host"))
	case v.Waiting == 0:
		return "The job has just ended."
	}
	phrases := map[string]int{}
	for code, n := range v.Reasons {
		phrases[phrase(code)] += n
	}
	parts := make([]string, 0, len(phrases))
	order := slices.SortedFunc(maps.Keys(phrases), func(a, b string) int {
		return cmp.Or(phrases[b]-phrases[a], strings.Compare(a, b))
	})
	for _, p := range order {
		parts = append(parts, fmt.Sprintf("%d %s", phrases[p], p))
	}
	verb := "have"
	if v.Waiting == 1 {
		verb = "has"
	}
	return fmt.Sprintf("%d of %d %s not ended: %s.", v.Waiting, of, verb, strings.Join(parts, ", "))
}

// phrase words a code so that it follows any number.
func phrase(code string) string {
	switch queue.WaitCode(code) {
	case queue.WaitPaused:
		return "held because the job is paused"
	case queue.WaitRollout:
		return "held by the rollout"
	case queue.WaitNotBefore:
		return "waiting for not_before"
	case queue.WaitDuplicate:
		return "waiting for a duplicate host to be resolved"
	case queue.WaitNeverSeen:
		return "waiting for a host that never connected"
	case queue.WaitOffline:
		return "waiting for a host that is offline"
	case queue.WaitNoSlots:
		return "in a lane that the host takes nothing from"
	case queue.WaitLane, queue.WaitAhead:
		return "behind another job"
	case queue.WaitPoll:
		return "waiting for the next poll"
	case queue.WaitDelivery:
		return "about to be delivered"
	case queue.WaitAccepted:
		return "delivered and not yet accepted"
	case queue.WaitStart:
		return "accepted and not yet started"
	case queue.WaitCancel:
		return "being cancelled"
	case queue.WaitHostAway:
		return "running on a host that is offline"
	case queue.WaitEnd:
		return "running"
	}
	return "waiting for " + code // of a newer server
}
