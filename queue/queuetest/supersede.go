package queuetest

import (
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func keyed(key string) func(*queue.Spec) {
	return func(s *queue.Spec) { s.SupersedeKey = key }
}

// planned submits a job with a supersede key, and doesn't release it.
func (e *env) planned(key string, hosts ...queue.HostID) queue.JobID {
	e.Helper()
	return e.submit(hosts, func(n *queue.NewJob) { n.Job.Spec.SupersedeKey = key })
}

func (e *env) wantSuperseded(job queue.JobID, host queue.HostID, by queue.JobID) {
	e.Helper()
	x := e.want(job, host, queue.Cancelled)
	if x.Result.Reason != queue.WhySuperseded(by) || x.Result.ExitCode != -1 {
		e.Errorf("superseded by %s: %+v", by, x.Result)
	}
}

func supersedeScenarios() []scenario {
	return []scenario{
		{name: "the older waits", run: func(e *env) {
			e.enroll("h")
			older := e.queued("h", keyed("k"))
			newer := e.queued("h", keyed("k"))
			e.wantSuperseded(older, "h", newer)
			same(e, "counters of the older", nonZero(e.counters(older).Counters), queue.Counters{queue.Cancelled: 1})
			same(e, "states of the older", string(e.states(older)), "c")
			if e.counters(older).FinishedAt.IsZero() {
				e.Error("the older isn't finished")
			}
			a := e.agent("h", slots(map[queue.Lane]int{"default": 5}))
			same(e, "delivered", placed(a.take(100), older, newer), "1")
		}},
		{name: "the older is released after the newer", run: func(e *env) {
			e.enroll("h")
			older, newer := e.planned("k", "h"), e.planned("k", "h")
			same(e, "released of the newer", e.expand(newer), 1)
			e.want(older, "h", queue.Planned)
			same(e, "released of the older", e.expand(older), 0)
			e.wantSuperseded(older, "h", newer)
			e.want(newer, "h", queue.Queued)
			open, err := e.s.OpenJobs(e.ctx, 10)
			e.ok(err, "OpenJobs")
			same(e, "open jobs", len(open), 0)
		}},
		{name: "the older is released after the newer has ended", run: func(e *env) {
			e.enroll("h", "i", "j")
			hosts := []queue.HostID{"h", "i", "j"}
			older, newer := e.planned("k", hosts...), e.planned("k", hosts...)
			e.expand(newer)
			a := e.agent("h")
			a.finish(a.running(), 3)
			e.cancel(newer, "i")
			e.agent("j").running()
			e.expand(older)
			for _, h := range hosts {
				e.wantSuperseded(older, h, newer)
			}
			e.want(newer, "h", queue.Succeeded)
			e.want(newer, "j", queue.Running)
		}},
		{name: "three in any order", run: func(e *env) {
			e.enroll("h")
			first, second, third := e.planned("k", "h"), e.planned("k", "h"), e.planned("k", "h")
			e.expand(second)
			e.expand(first)
			e.wantSuperseded(first, "h", second)
			e.expand(third)
			e.wantSuperseded(second, "h", third)
			e.wantSuperseded(first, "h", second)
			e.want(third, "h", queue.Queued)
			a := e.agent("h")
			same(e, "delivered", placed(a.take(100), first, second, third), "2")
		}},
		{name: "the older is leased", run: func(e *env) {
			e.enroll("h", "i")
			hosts := []queue.HostID{"h", "i"}
			older := e.queuedAll(hosts, keyed("k"))
			a, b := e.agent("h"), e.agent("i")
			d := a.one()
			b.one()
			newer := e.queuedAll(hosts, keyed("k"))
			if x := e.want(older, "h", queue.Leased); x.CancelledAt.IsZero() {
				e.Error("the older isn't flagged")
			}
			a.says("0 forget cancelled", a.accepted(d))
			e.wantSuperseded(older, "h", newer)
			e.pass(45 * time.Second)
			e.wantSuperseded(older, "i", newer)
			same(e, "delivered", placed(a.take(100), older, newer), "1")
			same(e, "delivered", placed(b.take(100), older, newer), "1")
		}},
		{name: "the older is leased, and its session goes", run: func(e *env) {
			e.enroll("h")
			older := e.queued("h", keyed("k"))
			a := e.agent("h")
			d := a.one()
			newer := e.queued("h", keyed("k"))
			a.hello(inHand(holding(d, 0))) // carried over
			e.want(older, "h", queue.Leased)
			a.hello(inHand())
			e.wantSuperseded(older, "h", newer)
		}},
		{name: "the older was accepted", run: func(e *env) {
			e.enroll("h", "i")
			hosts := []queue.HostID{"h", "i"}
			older := e.queuedAll(hosts, keyed("k"))
			a, b := e.agent("h"), e.agent("i")
			da, db := a.one(), b.one()
			a.says("1 go", a.accepted(da))
			b.says("2 go", b.accepted(db), b.started(db))
			newer := e.queuedAll(hosts, keyed("k"))
			if x := e.want(older, "h", queue.Accepted); !x.CancelledAt.IsZero() {
				e.Error("what was accepted is flagged")
			}
			e.want(older, "i", queue.Running)
			a.none()
			b.none()
			a.says("2", a.started(da))
			a.finish(da, 3)
			e.want(older, "h", queue.Succeeded)
			same(e, "then", placed(a.take(100), older, newer), "1")
		}},
		{name: "the older is planned, of a job that goes on", run: func(e *env) {
			hosts := e.many(8)
			older := e.planned("k", hosts...)
			for e.counters(older).Counters[queue.Queued] == 0 {
				_, err := e.s.Expand(e.ctx, older, "driver", 2)
				e.ok(err, "Expand")
			}
			before := e.counters(older).Counters
			newer := e.queuedAll(hosts, keyed("k"))
			after := e.counters(older).Counters
			same(e, "ended and planned", words(after[queue.Cancelled], after[queue.Planned]), words(before[queue.Queued], before[queue.Planned]))
			same(e, "released later", e.expand(older), 0)
			for _, h := range hosts {
				e.wantSuperseded(older, h, newer)
			}
		}},
		{name: "one that is being released", run: func(e *env) {
			hosts := e.many(8)
			older := e.queuedAll(hosts, keyed("k"))
			newer := e.planned("k", hosts...)
			for e.counters(newer).Counters[queue.Queued] == 0 {
				_, err := e.s.Expand(e.ctx, newer, "driver", 2)
				e.ok(err, "Expand")
			}
			now, then := e.states(newer), e.states(older)
			for i, h := range e.targets(newer) {
				if old := e.execution(older, h); now[i] == byte(queue.Queued) != (old.State == queue.Cancelled) {
					e.Errorf("on %s the newer is %c, the older %v (%s)", h, now[i], old.State, then)
				}
			}
			e.cancel(newer) // what it hasn't replaced stays
			left := strings.Count(string(now), "p")
			same(e, "queued of the older", e.counters(older).Counters[queue.Queued], left)
		}},
		{name: "another operator, another key, none", run: func(e *env) {
			e.enroll("h")
			by := func(who, key string) queue.JobID {
				id := e.submit([]queue.HostID{"h"}, func(n *queue.NewJob) { n.Job.CreatedBy, n.Job.Spec.SupersedeKey = who, key })
				e.expand(id)
				return id
			}
			jobs := []queue.JobID{by("ann", "k"), by("bob", "k"), by("ann", "K"), by("ann", ""), by("ann", ""), by("annk", ""), by("an", "nk")}
			for _, job := range jobs {
				e.want(job, "h", queue.Queued)
			}
			last := by("ann", "k")
			e.wantSuperseded(jobs[0], "h", last)
			for _, job := range jobs[1:] {
				e.want(job, "h", queue.Queued)
			}
		}},
		{name: "hosts that overlap in part", run: func(e *env) {
			e.enroll("a", "b", "c")
			older := e.queuedAll([]queue.HostID{"a", "b"}, keyed("k"))
			newer := e.queuedAll([]queue.HostID{"b", "c"}, keyed("k"))
			e.want(older, "a", queue.Queued)
			e.wantSuperseded(older, "b", newer)
			e.want(newer, "b", queue.Queued)
			e.want(newer, "c", queue.Queued)
			third := e.queuedAll([]queue.HostID{"a", "b", "c"}, keyed("k"))
			e.wantSuperseded(older, "a", third)
			e.wantSuperseded(newer, "b", third)
			e.wantSuperseded(newer, "c", third)
		}},
		{name: "whatever their lanes, priorities and times", run: func(e *env) {
			e.enroll("h")
			older := e.queued("h", keyed("k"), lane(queue.LaneUrgent), priority(9))
			later := e.queued("h", keyed("k"), notBefore(e.now().Add(time.Hour)))
			e.wantSuperseded(older, "h", later)
			e.agent("h").none()
			newest := e.queued("h", keyed("k"))
			e.wantSuperseded(later, "h", newest)
			e.advance(2 * time.Hour)
			e.sweep()
			e.wantSuperseded(later, "h", newest)
			e.agent("h").one()
		}},
		{name: "cancelled before its release it replaces nothing", run: func(e *env) {
			e.enroll("h", "i")
			hosts := []queue.HostID{"h", "i"}
			older := e.queuedAll(hosts, keyed("k"))
			newer, third := e.planned("k", hosts...), e.planned("k", "i")
			e.cancel(newer)
			e.expand(newer)
			e.cancel(third, "i")
			e.expand(third)
			e.want(older, "h", queue.Queued)
			e.want(older, "i", queue.Queued)
		}},
		{name: "one that is skipped replaces", run: func(e *env) {
			e.enroll("h", "i")
			hosts := []queue.HostID{"h", "i"}
			older, skipped := e.planned("k", hosts...), e.queuedAll(hosts[:1], keyed("k"))
			newer := e.queuedAll(hosts, keyed("k"), skipOffline)
			e.wantSkipped(newer, hosts...)
			e.wantSuperseded(skipped, "h", newer)
			e.expand(older)
			e.wantSuperseded(older, "h", newer)
			e.wantSuperseded(older, "i", newer)
		}},
		{name: "superseded rather than skipped", run: func(e *env) {
			e.enroll("h")
			older := e.submit([]queue.HostID{"h"}, func(n *queue.NewJob) { n.Job.Spec.SupersedeKey, n.Job.Spec.Offline = "k", queue.OfflineSkip })
			newer := e.queued("h", keyed("k"))
			e.expand(older)
			e.wantSuperseded(older, "h", newer)
		}},
		{name: "a host of old is no release", run: func(e *env) {
			e.enroll("h")
			newer := e.planned("k", "h")
			e.reenroll("h")
			e.expand(newer)
			if x := e.want(newer, "h", queue.Cancelled); x.Result.Reason != queue.WhyReenrolled {
				e.Errorf("ended with %+v", x.Result)
			}
			e.enroll("i")
			e.want(e.queued("h", keyed("k")), "h", queue.Queued)
		}},
		{name: "forgotten with the newer's record", run: func(e *env) {
			e.enroll("h", "i")
			hosts := []queue.HostID{"h", "i"}
			older, newer := e.planned("k", hosts...), e.planned("k", hosts...)
			e.expand(newer)
			e.cancel(newer)
			e.expand(newer)
			e.advance(2 * time.Hour)
			e.sweepKeeping(queue.Retention{RecordAge: time.Hour})
			same(e, "the newer", e.outputs("h", newer), "x")
			same(e, "released of the older", e.expand(older), 2)
			third := e.queuedAll(hosts, keyed("k")) // the key is none the worse for it
			e.wantSuperseded(older, "h", third)
			e.wantSuperseded(older, "i", third)
		}},
		{name: "remembered when the older's record goes", run: func(e *env) {
			e.enroll("h")
			first, second, third := e.planned("k", "h"), e.planned("k", "h"), e.planned("k", "h")
			e.expand(third)
			e.expand(first)
			e.wantSuperseded(first, "h", third)
			e.advance(2 * time.Hour)
			e.sweepKeeping(queue.Retention{RecordAge: time.Hour})
			same(e, "the first", e.outputs("h", first), "x")
			e.expand(second)
			e.wantSuperseded(second, "h", third)
		}},
	}
}

func (e *env) targets(job queue.JobID) []queue.HostID {
	e.Helper()
	hosts, err := e.s.Targets(e.ctx, job, 0, queue.MaxTargets)
	e.ok(err, "Targets of %s", job)
	return hosts
}
