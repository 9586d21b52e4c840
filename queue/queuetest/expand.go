package queuetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func expandScenarios() []scenario {
	step := func(e *env, job queue.JobID, driver string, limit int) queue.Expansion {
		e.Helper()
		x, err := e.s.Expand(e.ctx, job, driver, limit)
		e.ok(err, "Expand")
		if factor := 2; x.Released > limit*factor || !e.twice && x.Released > limit {
			e.Errorf("Expand of %d releases %d", limit, x.Released)
		}
		return x
	}
	return []scenario{
		{name: "stopped in the middle and resumed by another", run: func(e *env) {
			hosts := e.many(20)
			job := e.submit(hosts)
			same(e, "planned", string(e.states(job)), strings.Repeat("p", 20))
			released := 0
			for released == 0 {
				x := step(e, job, "one", 4)
				if released += x.Released; x.Done || x.Busy {
					e.Fatalf("Expand: %+v", x)
				}
			}
			same(e, "queued so far", e.counters(job).Counters[queue.Queued], released)
			if x := step(e, job, "two", 4); !x.Busy || x.Released != 0 || x.Done {
				e.Errorf("while another drives: %+v", x)
			}
			e.advance(queue.DriverTimeout + time.Second)
			for {
				x := step(e, job, "two", 4)
				if x.Busy {
					e.Fatal("busy though the other has been silent")
				}
				released += x.Released
				if x.Done {
					break
				}
				if y := step(e, job, "one", 4); !y.Busy {
					e.Errorf("the first driver goes on beside the second: %+v", y)
				}
			}
			same(e, "released in all", released, 20)
			same(e, "states", string(e.states(job)), strings.Repeat("q", 20))
			if x := step(e, job, "three", 4); x != (queue.Expansion{Done: true}) {
				e.Errorf("after it was done: %+v", x)
			}
			open, err := e.s.OpenJobs(e.ctx, 10)
			e.ok(err, "OpenJobs")
			same(e, "open jobs", len(open), 0)
		}},
		{name: "cancel during it", run: func(e *env) {
			hosts := e.many(12)
			job := e.submit(hosts)
			step(e, job, "one", 3)
			c := e.cancel(job)
			same(e, "Cancelled", c.Cancelled, 12)
			same(e, "released after the cancel", e.expandAs(job, "one"), 0)
			same(e, "states", string(e.states(job)), strings.Repeat("c", 12))
		}},
		{name: "cancel of a host during it", run: func(e *env) {
			hosts := e.many(6)
			job := e.submit(hosts)
			same(e, "Cancel of planned ones", e.cancel(job, hosts[0], hosts[5]), queue.Cancellation{Cancelled: 2})
			e.expand(job)
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Queued: 4, queue.Cancelled: 2})
			e.want(job, hosts[0], queue.Cancelled)
		}},
		{name: "cancel before it", run: func(e *env) {
			job := e.submit(e.many(6))
			e.cancel(job)
			same(e, "released", e.expand(job), 0)
			same(e, "states", string(e.states(job)), "cccccc")
			open, err := e.s.OpenJobs(e.ctx, 10)
			e.ok(err, "OpenJobs")
			same(e, "open jobs", len(open), 0)
		}},
		{name: "targets that are hosts of old", run: func(e *env) {
			hosts := e.many(5)
			job := e.submit(hosts)
			e.reenroll(hosts[0])
			e.ok(e.s.Revoke(e.ctx, hosts[1]), "Revoke")
			e.ok(e.s.DeleteHost(e.ctx, hosts[2]), "DeleteHost")
			e.ok(e.s.DeleteHost(e.ctx, hosts[3]), "DeleteHost")
			e.enroll(hosts[3]) // the same id and key, but another host
			same(e, "released", e.expand(job), 1)
			for i, h := range hosts {
				if i == 4 {
					e.want(job, h, queue.Queued)
				} else if x := e.want(job, h, queue.Cancelled); x.Result.Reason == "" {
					e.Errorf("%s was cancelled without a reason", h)
				}
			}
		}},
		{name: "open jobs, oldest first", run: func(e *env) {
			hosts := e.many(2)
			a, b, c := e.submit(hosts), e.submit(hosts), e.submit(hosts)
			e.expand(b)
			open, err := e.s.OpenJobs(e.ctx, 10)
			e.ok(err, "OpenJobs")
			same(e, "open", open, []queue.JobID{a, c})
			open, err = e.s.OpenJobs(e.ctx, 1)
			e.ok(err, "OpenJobs")
			same(e, "the oldest", open, []queue.JobID{a})
		}},
		{name: "unknown job", run: func(e *env) {
			_, err := e.s.Expand(e.ctx, queue.NewJobID(e.now()), "one", 10)
			e.code(err, queue.NotFound, "Expand")
		}},
		{name: "the clock starts at release", run: func(e *env) {
			e.enroll("h")
			job := e.submit([]queue.HostID{"h"}, func(n *queue.NewJob) { n.Job.Spec.PickupTimeout = time.Minute })
			e.advance(time.Hour)
			e.sweep()
			e.want(job, "h", queue.Planned)
			e.expand(job)
			e.advance(50 * time.Second)
			e.sweep()
			e.want(job, "h", queue.Queued)
			e.advance(11 * time.Second)
			e.sweep()
			e.want(job, "h", queue.Expired)
		}},
	}
}

// many enrols n hosts.
func (e *env) many(n int) (ids []queue.HostID) {
	e.Helper()
	for i := range n {
		ids = append(ids, queue.HostID(fmt.Sprintf("host-%03d", i)))
	}
	e.enroll(ids...)
	return ids
}

func (e *env) expandAs(job queue.JobID, driver string) (released int) {
	e.Helper()
	for range 1000 {
		x, err := e.s.Expand(e.ctx, job, driver, 100)
		e.ok(err, "Expand")
		if released += x.Released; x.Done {
			return released
		}
	}
	e.Fatal("Expand: not done after 1000 calls")
	return 0
}
