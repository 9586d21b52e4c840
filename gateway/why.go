package gateway

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// explain says of each execution of a job that hasn't ended why not yet. As that is read after the
// executions were, it replaces them by what they are then.
func (g *Gateway) explain(ctx context.Context, id queue.JobID, xs []api.Execution) error {
	var hosts []queue.HostID
	var at []int // of each host in xs
	for i := range xs {
		if xs[i].FinishedAt == nil {
			hosts = append(hosts, queue.HostID(xs[i].Host))
			at = append(at, i)
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	job, err := g.store.Job(ctx, id)
	if err != nil {
		return err
	}
	situations, err := g.store.Situations(ctx, id, hosts)
	if err != nil {
		return err
	}
	now, err := g.store.Now(ctx)
	if err != nil {
		return err
	}
	for i := range situations {
		s := &situations[i]
		xs[at[i]] = apiExecution(s.Execution)
		if w, ok := s.Why(&job, now); ok {
			xs[at[i]].Why = apiWhy(&w)
		}
	}
	return nil
}

// explainQueue does so for a host's queue, which is in order of delivery: it needs no more of the
// store than the jobs that are in flight, of which there are few.
func (g *Gateway) explainQueue(ctx context.Context, host queue.Host, xs []queue.Execution, out []api.Execution) error {
	now, err := g.store.Now(ctx)
	if err != nil {
		return err
	}
	type lane struct { // what is ahead in it, so far
		queue.Situation
		leased time.Time // Held's
	}
	lanes := map[queue.Lane]*lane{}
	for i, x := range xs {
		ahead := lanes[x.Lane]
		if ahead == nil {
			ahead = &lane{}
			lanes[x.Lane] = ahead
		}
		s := ahead.Situation
		s.Execution, s.Host = x, host
		job := queue.JobStatus{Job: queue.Job{ID: x.Job}} // more isn't looked at of what is queued
		if x.State != queue.Queued {
			job, err = g.store.Job(ctx, x.Job)
			if queue.CodeOf(err) == queue.NotFound {
				continue // it was removed since the queue was read
			}
			if err != nil {
				return err
			}
			if ahead.Flying++; ahead.Flying == 1 || x.LeasedAt.Before(ahead.leased) {
				ahead.Held, ahead.leased = blocker(x), x.LeasedAt
			}
		} else if held := (queue.Held{Execution: x}); held.Deliverable(now) {
			if ahead.Ahead++; ahead.Ahead == 1 {
				ahead.First = blocker(x)
			}
		}
		if w, ok := s.Why(&job, now); ok {
			out[i].Why = apiWhy(&w)
		}
	}
	return nil
}

func blocker(x queue.Execution) queue.Blocker {
	since := x.ReleasedAt
	switch x.State {
	case queue.Leased:
		since = x.LeasedAt
	case queue.Accepted:
		since = x.AcceptedAt
	case queue.Running:
		since = x.StartedAt
	}
	return queue.Blocker{Job: x.Job, State: x.State, Since: since}
}
