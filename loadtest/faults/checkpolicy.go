package faults

import (
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// keyed is an execution of a job that replaces others.
type keyed struct {
	job  queue.Job
	x    queue.Execution
	host string
}

// policies holds an execution against the policies of its job.
func (c *checker) policies(o *order, j queue.Job, x *queue.Execution, t *ran) {
	id := string(x.ID())
	if o.Key != "" {
		k := o.Key + "/" + string(x.Host)
		c.keyed[k] = append(c.keyed[k], keyed{j, *x, string(x.Host)})
	}
	why := x.Result.Reason
	withdrawn := x.State == queue.Cancelled && (why == queue.WhyOffline || why == queue.WhyUnselected || c.supersedes(o, j, x, why))
	if withdrawn && (!x.AcceptedAt.IsZero() || len(t.starts) > 0) && !c.rolledBack(o.At.Add(-time.Minute), time.Now()) {
		c.bad("withdrawn", id, "%s, and it was accepted at %v and started %d times", why, x.AcceptedAt, len(t.starts))
	}
	if o.Selector && !x.LeasedAt.IsZero() && c.unmatched(string(x.Host), x.LeasedAt) {
		c.bad("checked again", id, "leased at %v to a host that didn't match its selector", x.LeasedAt)
	}
	c.r.load.meddled.mu.Lock()
	defer c.r.load.meddled.mu.Unlock()
	for _, p := range c.r.load.meddled.purges {
		if p.Host == string(x.Host) && !p.Answered.IsZero() && x.ReleasedAt.Before(p.Asked) && x.AcceptedAt.After(p.Answered) && !c.excused(p.span) {
			c.bad("purged", id, "released at %v, and accepted at %v, after its host was purged at %v", x.ReleasedAt, x.AcceptedAt, p.Answered)
		}
	}
}

// mayCancel tells whether something cancelled an execution besides a cancel of its job.
func (c *checker) mayCancel(o *order, x *queue.Execution) bool {
	switch why := x.Result.Reason; {
	case why == queue.WhyOffline:
		return o.Skip
	case why == queue.WhyUnselected:
		return o.Selector
	case strings.HasPrefix(why, queue.WhySuperseded("")):
		newer := c.jobs[queue.JobID(strings.TrimPrefix(why, queue.WhySuperseded("")))]
		// The newer one may have gone in a failover, with what it did.
		return o.Key != "" && (newer == nil || newer.Key == o.Key && newer != o)
	}
	c.r.load.mu.Lock()
	single := c.r.load.single[string(x.ID())]
	c.r.load.mu.Unlock()
	if single {
		return true
	}
	const margin = 2 * time.Second // a record that went back and came again tells later times
	c.r.load.meddled.mu.Lock()
	defer c.r.load.meddled.mu.Unlock()
	for _, p := range c.r.load.meddled.purges {
		if p.Host == string(x.Host) && p.Asked.Before(x.FinishedAt.Add(margin)) && (p.Answered.IsZero() || p.Answered.After(x.ReleasedAt.Add(-margin))) {
			return true
		}
	}
	return false
}

// supersedes tells whether the reason names a newer job with the same key, and sees to it that it is one.
func (c *checker) supersedes(o *order, j queue.Job, x *queue.Execution, why string) bool {
	name, ok := strings.CutPrefix(why, queue.WhySuperseded(""))
	if !ok {
		return false
	}
	if newer := c.made[queue.JobID(name)]; newer != nil && !newer.Newer(j) {
		c.bad("superseded", string(x.ID()), "by %s, which is older", name)
	}
	return true
}

// superseding sees to it that no older job of a key was accepted after a newer one had been released on the same host.
func (c *checker) superseding() {
	for _, xs := range c.keyed {
		for _, newer := range xs {
			if newer.x.ReleasedAt.IsZero() {
				continue
			}
			for _, older := range xs {
				if newer.job.Newer(older.job) && older.x.AcceptedAt.After(newer.x.ReleasedAt) {
					c.bad("superseded", string(older.x.ID()), "accepted at %v, after %s had been released there at %v", older.x.AcceptedAt, newer.job.ID, newer.x.ReleasedAt)
				}
			}
		}
	}
}

// unmatched tells whether a host's labels certainly didn't match the selector at a time.
func (c *checker) unmatched(host string, at time.Time) bool {
	c.r.load.meddled.mu.Lock()
	defer c.r.load.meddled.mu.Unlock()
	changes := c.r.load.meddled.labels[host]
	last := -1
	for i, ch := range changes {
		if ch.Asked.Before(at) {
			last = i
		}
	}
	if last < 0 {
		return false
	}
	ch := changes[last]
	return !ch.wanted && !ch.Answered.IsZero() && ch.Answered.Before(at) && !c.rolledBack(ch.Answered, at) && !c.excused(ch.span)
}

// duplicates sees to it that a host got no work while it was two machines.
func (c *checker) duplicates(x *queue.Execution) {
	d := &c.r.w.doubles
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.idle {
		if t.host == string(x.Host) && x.LeasedAt.After(t.From) && x.LeasedAt.Before(t.To) && !c.rolledBack(t.From.Add(-time.Minute), t.To) {
			c.bad("duplicate gets no work", string(x.ID()), "leased at %v to a host that was two machines from %v to %v", x.LeasedAt, t.From, t.To)
		}
	}
}
