package faults

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// jobsStored looks for jobs twice, and for jobs that nobody submitted.
func (c *checker) jobsStored(ctx context.Context) error {
	names := map[string]queue.JobID{}
	for after := ""; ; {
		jobs, next, err := c.store.ListJobs(ctx, after, queue.MaxPage)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if other, ok := names[j.Spec.Name]; ok && !c.excused(span{j.CreatedAt, j.CreatedAt}) {
				c.bad("submitted once", string(j.ID), "%s is also %s: one key made two jobs", j.Spec.Name, other)
			}
			names[j.Spec.Name] = j.ID
			c.made[j.ID] = &j.Job
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// job checks a job, with all its executions.
func (c *checker) job(ctx context.Context, o *order) error {
	id := queue.JobID(o.ID)
	j, err := c.store.Job(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		if !c.excused(span{o.Sent, o.At}) {
			c.bad("accepted is stored", o.ID, "%s was answered with a 2xx, and isn't there", o.name())
		}
		return nil
	}
	if err != nil {
		return err
	}
	states, err := c.store.States(ctx, id)
	if err != nil {
		return err
	}
	counted, n := queue.Counters{}, 0
	for after := ""; ; {
		xs, next, err := c.store.Executions(ctx, queue.ExecutionQuery{Job: id, After: after, Limit: queue.MaxPage})
		if err != nil {
			return err
		}
		for i := range xs {
			x := &xs[i]
			counted[x.State]++
			n++
			if x.Ordinal >= len(states) || states[x.Ordinal] != byte(x.State) {
				c.bad("state bytes", string(x.ID()), "the record says %v, the bytes %q at %d", x.State, states, x.Ordinal)
			}
			if last := o.states; len(last) == len(states) && queue.State(last[x.Ordinal]).Terminal() && last[x.Ordinal] != byte(x.State) && !c.rolledBack(x.ReleasedAt, time.Now()) {
				c.bad("terminal stays", string(x.ID()), "was seen as %v, and is %v", queue.State(last[x.Ordinal]), x.State)
			}
			if err := c.execution(ctx, o, x, j.Job); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			break
		}
	}
	if n != len(o.Hosts) || len(states) != n {
		c.bad("targets", o.ID, "%d executions and %d state bytes for %d hosts", n, len(states), len(o.Hosts))
	}
	for _, s := range queue.States() {
		if j.Counters[s] != counted[s] {
			c.bad("counters", o.ID, "%d are counted as %v, %d are", j.Counters[s], s, counted[s])
		}
	}
	return nil
}

// strays looks for scripts of executions that nobody has.
func (c *checker) strays() {
	for _, id := range slices.Sorted(maps.Keys(c.ran)) {
		t := c.ran[id]
		if len(t.starts) > 1 {
			c.bad("started once", id, "started %d times, and the store doesn't have it", len(t.starts))
			continue
		}
		if len(t.starts) == 1 && !c.rolledBack(t.starts[0].Add(-time.Minute), time.Now()) {
			c.bad("started is stored", id, "started at %v, and the store doesn't have it", t.starts[0])
		}
	}
}

// derived checks what follows from the records: nothing is in anybody's hands, and reconciling finds nothing.
func (c *checker) derived(ctx context.Context) error {
	light, real := c.r.w.hosts()
	for _, h := range slices.Concat(light, real) {
		q, err := c.store.HostQueue(ctx, queue.HostID(h), 10)
		if err != nil {
			return err
		}
		if len(q) > 0 {
			c.bad("leases", h, "still has %v %s", q[0].State, q[0].ID())
		}
	}
	for range 2*len(c.jobs)/100 + 2 {
		repairs, err := c.store.Reconcile(ctx, 100)
		if err != nil {
			return err
		}
		for _, line := range repairs {
			c.bad("derived", "", "reconciling: %s", strings.TrimSpace(line))
		}
	}
	return nil
}
