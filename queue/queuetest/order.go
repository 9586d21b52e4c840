package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// placed names the jobs of deliveries, by their place in jobs.
func placed(ds []queue.Delivery, jobs ...queue.JobID) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprint(&b, slices.Index(jobs, d.Execution.Job), " ")
	}
	return strings.TrimSpace(b.String())
}

func orderScenarios() []scenario {
	return []scenario{
		{name: "lane, priority, age", run: func(e *env) {
			e.enroll("h")
			jobs := []queue.JobID{
				e.queued("h"),                                        // 0
				e.queued("h", priority(5)),                           // 1
				e.queued("h", lane("batch")),                         // 2
				e.queued("h"),                                        // 3
				e.queued("h", lane(queue.LaneUrgent)),                // 4
				e.queued("h", priority(-100)),                        // 5
				e.queued("h", priority(5)),                           // 6
				e.queued("h", lane(queue.LaneUrgent), priority(100)), // 7
				e.queued("h", priority(100)),                         // 8
			}
			same(e, "HostQueue", e.queueOf("h", jobs...), "7 4 2 8 1 6 0 3 5")
			a := e.agent("h", slots(map[queue.Lane]int{"batch": 9, "default": 9, "urgent": 9}))
			same(e, "Lease", placed(a.take(100), jobs...), "7 4 2 8 1 6 0 3 5")
		}},
		{name: "slots", run: func(e *env) {
			e.enroll("h")
			var jobs []queue.JobID
			for _, l := range []queue.Lane{"default", "default", "default", "urgent", "urgent", "batch", "batch", "batch", "closed", "other"} {
				jobs = append(jobs, e.queued("h", lane(l)))
			}
			a := e.agent("h", slots(map[queue.Lane]int{"batch": 2, "closed": 0}))
			f := a.lease(100)
			same(e, "first into each free slot", placed(f.Deliveries, jobs...), "3 5 6 0 9")
			same(e, "More, InHand", words(f.More, f.InHand), "false 5")
			a.n = f.N
			a.none()
			for _, d := range f.Deliveries { // accepted and running still occupy
				a.says("1 go", a.accepted(d))
				a.says("2", a.started(d))
			}
			a.none()
			a.finish(f.Deliveries[3], 3)
			same(e, "into the slot that became free", placed(a.take(100), jobs...), "1")
			a.finish(f.Deliveries[0], 3)
			a.finish(f.Deliveries[1], 3)
			same(e, "into the slots that became free", placed(a.take(100), jobs...), "4 7")
			e.want(jobs[8], "h", queue.Queued)
			a.hello(slots(map[queue.Lane]int{"closed": 1}), inHand())
			e.want(jobs[8], "h", queue.Queued)
			if ds := a.take(100); !slices.ContainsFunc(ds, func(d queue.Delivery) bool { return d.Execution.Job == jobs[8] }) {
				e.Errorf("the lane that a new hello opened gives nothing: %s", placed(ds, jobs...))
			}
		}},
		{name: "urgent doesn't wait behind default", run: func(e *env) {
			e.enroll("h")
			e.queued("h")
			a := e.agent("h")
			a.running()
			e.queued("h", priority(100))
			a.none()
			u := e.queued("h", lane(queue.LaneUrgent), priority(-100))
			if d := a.one(); d.Execution.Job != u {
				e.Errorf("delivered %+v", d)
			}
		}},
		{name: "Max", run: func(e *env) {
			e.enroll("h")
			var jobs []queue.JobID
			for range 5 {
				jobs = append(jobs, e.queued("h"))
			}
			a := e.agent("h", slots(map[queue.Lane]int{"default": 4}))
			f := a.lease(3)
			same(e, "three of five, a slot left", words(placed(f.Deliveries, jobs...), f.More, f.InHand), "0 1 2 true 3")
			a.n = f.N
			f = a.lease(3)
			same(e, "the fourth; the fifth fits no slot", words(placed(f.Deliveries, jobs...), f.More, f.InHand), "3 false 4")
		}},
		{name: "what is delivered", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", lane("batch"), priority(7), pickup(time.Hour))
			a := e.agent("h")
			d := a.one()
			x := d.Execution
			if x.State != queue.Leased || x.Job != job || x.Host != "h" || x.Lane != "batch" || x.Priority != 7 || x.Deliveries != 1 || d.Token == "" || d.Cancel {
				e.Errorf("delivered %+v", d)
			}
			if got := x.DeliverUntil.Sub(x.ReleasedAt); got != time.Hour {
				e.Errorf("to be delivered within %v of its release, want 1h", got)
			}
			stored := e.want(job, "h", queue.Leased)
			if stored.LeasedAt.IsZero() || stored.LeasedAt.Before(stored.ReleasedAt) || !stored.AcceptedAt.IsZero() {
				e.Errorf("stored: %+v", stored)
			}
			a.says("1 go", a.accepted(d))
			a.says("2", a.started(d))
			a.finish(d, 3)
			x = e.want(job, "h", queue.Succeeded)
			for i, at := range []time.Time{x.ReleasedAt, x.LeasedAt, x.AcceptedAt, x.StartedAt, x.FinishedAt} {
				if at.IsZero() || i > 0 && at.Before(x.ReleasedAt) {
					e.Errorf("time %d of %+v", i, x)
				}
			}
			if x.Generation != "gen-1" || x.Position != 1 || x.Result.ExitCode != 0 || x.Incarnation != e.host("h").Incarnation || !x.CancelledAt.IsZero() {
				e.Errorf("ended as %+v", x)
			}
		}},
		{name: "hosts apart", run: func(e *env) {
			e.enroll("a", "b")
			both := e.queuedAll([]queue.HostID{"a", "b"})
			onlyB := e.queued("b")
			a, b := e.agent("a"), e.agent("b", slots(map[queue.Lane]int{"default": 2}))
			da := a.one()
			if da.Execution.Host != "a" {
				e.Errorf("a got %+v", da)
			}
			same(e, "b", placed(b.take(10), both, onlyB), "0 1")
		}},
	}
}
