package queuetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// crowd is more executions than a store looks at in one go.
const crowd = 1100

// crowdScenarios are about hosts with very much in their queue: nothing in it
// hides what is behind. Each runs once: they are long.
func crowdScenarios() []scenario {
	return []scenario{
		{name: "what expired doesn't hold up what is behind it", once: true, run: func(e *env) {
			e.enroll("h")
			e.pile("h", crowd, priority(5), pickup(time.Minute))
			e.advance(61 * time.Second) // and nothing sweeps
			job, urgent := e.queued("h"), e.queued("h", lane(queue.LaneUrgent))
			a := e.agent("h")
			same(e, "Lease", placed(a.take(100), job, urgent), "1 0")
			e.sweep()
			xs, err := e.s.HostQueue(e.ctx, "h", 1000)
			e.ok(err, "HostQueue")
			same(e, "what is left", len(xs), 2)
		}},
		{name: "what expired leaves its slots to all that is behind it", once: true, run: func(e *env) {
			e.enroll("h")
			e.pile("h", 50, priority(5), pickup(time.Minute))
			e.advance(61 * time.Second) // and nothing sweeps
			e.pile("h", 60)
			a := e.agent("h", slots(map[queue.Lane]int{"default": 60}))
			same(e, "leased", len(a.take(100)), 60)
		}},
		{name: "a full lane hides no other", once: true, run: func(e *env) {
			e.enroll("h")
			first := e.queued("h", priority(100))
			e.pile("h", crowd)
			a := e.agent("h")
			same(e, "into the slot", placed(a.take(100), first), "0")
			zeta, urgent := e.queued("h", lane("zeta")), e.queued("h", lane(queue.LaneUrgent))
			ready, err := e.s.Ready(e.ctx, "gw-1", 10)
			e.ok(err, "Ready")
			same(e, "ready", ready, []queue.HostID{"h"})
			same(e, "the other lanes", placed(a.take(100), zeta, urgent), "1 0")
			ready, err = e.s.Ready(e.ctx, "gw-1", 10)
			e.ok(err, "Ready")
			same(e, "ready with no free slot but in lanes where nothing waits", len(ready), 0)
		}},
		{name: "what a host of old had ends behind what the new one gets", once: true, run: func(e *env) {
			e.enroll("h")
			old := e.pile("h", crowd)
			e.reenroll("h")
			e.pile("h", 150, priority(100))
			e.sweep()
			left := 0
			for _, id := range old {
				if !e.execution(id, "h").State.Terminal() {
					left++
				}
			}
			same(e, "not ended of the old", left, 0)
			xs, err := e.s.HostQueue(e.ctx, "h", 1000)
			e.ok(err, "HostQueue")
			same(e, "in the queue", len(xs), 150)
		}},
	}
}

// pile queues n jobs for a host, several at a time.
func (e *env) pile(host queue.HostID, n int, change ...func(*queue.Spec)) (ids []queue.JobID) {
	e.Helper()
	todo := make(chan queue.NewJob, n)
	for range n {
		j := e.newJob(host)
		for _, c := range change {
			c(&j.Job.Spec)
		}
		ids = append(ids, j.Job.ID)
		todo <- j
	}
	close(todo)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for j := range todo {
				if err := e.enqueue(j); err != nil {
					e.Errorf("%s: %v", j.Job.ID, err)
				}
			}
		})
	}
	wg.Wait()
	if e.Failed() {
		e.FailNow()
	}
	return ids
}

func (e *env) enqueue(j queue.NewJob) error {
	if _, _, err := e.in.Store.Submit(e.ctx, j); err != nil {
		return err
	}
	x, err := e.in.Store.Expand(e.ctx, j.Job.ID, "driver", len(j.Targets))
	if err == nil && !x.Done {
		err = fmt.Errorf("expanded with %+v", x)
	}
	return err
}
