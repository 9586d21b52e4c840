package faults

import (
	"context"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// execution checks one execution.
func (c *checker) execution(ctx context.Context, o *order, x *queue.Execution, j queue.Job) error {
	id := string(x.ID())
	c.seen++
	c.strikesOn(j.CreatedAt, x)
	t := c.ran[id]
	if t == nil {
		t = &ran{}
	}
	delete(c.ran, id)
	back := c.rolledBack(o.At.Add(-time.Minute), time.Now())
	for len(t.starts) > 1 && c.nobodyKnew(x.Host, t.starts[0], t.starts[1]) {
		c.unknown++
		t.starts = t.starts[1:]
		t.ends = t.ends[max(len(t.ends)-1, 0):]
	}
	switch {
	case len(t.starts) > 1:
		c.bad("started once", id, "started %d times: %v; it is %v, leased %d times", len(t.starts), t.starts, x.State, x.Deliveries)
	case len(t.ends) > len(t.starts):
		c.bad("started once", id, "it ended %d times, and started %d times", len(t.ends), len(t.starts))
	}
	if !x.State.Terminal() {
		c.bad("ends", id, "it is %v (%+v)", x.State, *x)
		return nil
	}
	started := len(t.starts) > 0
	never := x.AcceptedAt.IsZero()
	switch {
	case started && never && !back:
		c.bad("not started", id, "it is %v and was never accepted, and was started at %v", x.State, t.starts[0])
	case !never && !x.CancelledAt.IsZero() && x.AcceptedAt.After(x.CancelledAt) && !back:
		c.bad("not started", id, "accepted at %v after it was cancelled at %v", x.AcceptedAt, x.CancelledAt)
	}
	c.outcome(o, x, t)
	c.policies(o, j, x, t)
	c.duplicates(x)
	return c.output(ctx, o, x)
}

// nobodyKnew tells whether both records of a start were lost before the next: the store's in a failover, the host's with its state
// directory, or since the next one is another machine's.
func (c *checker) nobodyKnew(host queue.HostID, first, second time.Time) bool {
	const comeback = 10 * time.Second // between what the store answered, and the start
	return slices.ContainsFunc(c.r.load.windows, func(w window) bool {
		return first.After(w.From) && first.Before(w.To.Add(comeback))
	}) && slices.ContainsFunc(c.struck[string(host)], func(st *strike) bool {
		return findKind(st.Kind).forgets && st.Until.After(first) && st.At.Before(second)
	})
}

// outcome holds the result against what the script did.
func (c *checker) outcome(o *order, x *queue.Execution, t *ran) {
	id, r := string(x.ID()), x.Result
	ended := len(t.ends) == 1
	switch x.State {
	case queue.Succeeded, queue.Failed:
		want := queue.Succeeded
		if o.Plan.Exit != 0 {
			want = queue.Failed
		}
		if x.State == queue.Failed && r.ExitCode == -1 && c.mayBreak(x) {
			return // it couldn't be started, or not written down
		}
		if x.State != want || r.ExitCode != o.Plan.Exit || !ended {
			c.bad("outcome", id, "%v with %d (%s) for a script that exits with %d; it came to its end: %v", x.State, r.ExitCode, r.Reason, o.Plan.Exit, ended)
		}
	case queue.TimedOut:
		if !o.Plan.Endless && time.Duration(o.Plan.Lines)*time.Second < 30*time.Second {
			c.bad("outcome", id, "timed out: %s", r.Reason)
		}
	case queue.Cancelled:
		if o.Cancel < 0 && !c.mayCancel(o, x) {
			c.bad("outcome", id, "cancelled by nobody: %s", r.Reason)
		}
	case queue.Expired:
		if !o.Pickup {
			c.bad("outcome", id, "expired: %s", r.Reason)
		}
	case queue.Rejected:
		if !c.mayBreak(x) {
			c.bad("outcome", id, "rejected: %s", r.Reason)
		}
	case queue.Lost:
		if !c.mayLose(x) {
			c.bad("lost for a reason", id, "lost (%s) between %v and %v, though nothing struck its host that loses scripts", r.Reason, x.AcceptedAt, x.FinishedAt)
		}
	}
}

// on gives the strikes on an execution's host while it was there.
func (c *checker) on(x *queue.Execution, f func(*strike) bool) bool {
	// A record that went back and came again tells later times; clocks are read at both ends.
	const margin = 2 * time.Second
	for _, strikes := range [][]*strike{c.struck[""], c.struck[string(x.Host)], c.beside[string(x.Host)]} {
		for _, st := range strikes {
			if st.Until.After(x.ReleasedAt.Add(-margin)) && st.At.Before(x.FinishedAt.Add(margin)) && f(st) {
				return true
			}
		}
	}
	return false
}

func (c *checker) mayBreak(x *queue.Execution) bool {
	return c.on(x, func(st *strike) bool { return findKind(st.Kind).breaks })
}

func (c *checker) mayLose(x *queue.Execution) bool {
	return c.on(x, func(st *strike) bool { return findKind(st.Kind).loses })
}
