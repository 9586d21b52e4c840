package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

// timeScenarios are about deadlines: which clock they run on, and what an
// outage does to them.
func timeScenarios() []scenario {
	short := func(s *queue.Spec) { s.RunTimeout, s.Grace = time.Minute, time.Second }
	return []scenario{
		{name: "not_before", once: true, run: func(e *env) {
			e.enroll("h")
			at := e.now().Add(time.Minute)
			later := e.queued("h", func(s *queue.Spec) { s.NotBefore, s.PickupTimeout = at, time.Hour })
			x := e.want(later, "h", queue.Queued)
			if got := x.DeliverUntil.Sub(x.NotBefore); got != time.Hour {
				e.Errorf("to be delivered within %v of not_before, want 1h", got)
			}
			now := e.queued("h")
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2}))
			if d := a.one(); d.Execution.Job != now {
				e.Errorf("delivered %+v before its time", d)
			}
			same(e, "Swept before", e.sweep(), queue.Swept{})
			e.advance(61 * time.Second)
			same(e, "Swept after", e.sweep(), queue.Swept{Due: 1})
			if d := a.one(); d.Execution.Job != later {
				e.Errorf("delivered %+v", d)
			}
		}},
		{name: "what is due goes by the age of its job", run: func(e *env) {
			e.enroll("h")
			at := e.now().Add(time.Minute)
			older := e.queued("h", func(s *queue.Spec) { s.NotBefore = at })
			newer := e.queued("h")
			e.advance(61 * time.Second)
			e.sweep()
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2}))
			same(e, "order", placed(a.take(2), older, newer), "0 1")
		}},
		{name: "not_before in the past", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", func(s *queue.Spec) { s.NotBefore = e.now().Add(-time.Hour) })
			if x := e.execution(job, "h"); x.DeliverUntil.Sub(x.ReleasedAt) != queue.DefaultPickupTimeout {
				e.Errorf("released %v, deliver until %v", x.ReleasedAt, x.DeliverUntil)
			}
			e.agent("h").one()
		}},
		{name: "expiry", once: true, run: func(e *env) {
			hosts := e.many(3)
			job := e.queuedAll(hosts, pickup(time.Minute))
			e.agent(hosts[0]).running()
			same(e, "Swept before", e.sweep(), queue.Swept{})
			e.advance(61 * time.Second)
			same(e, "Swept after", e.sweep(), queue.Swept{Expired: 2})
			e.want(job, hosts[0], queue.Running)
			if x := e.want(job, hosts[1], queue.Expired); x.Result.Reason == "" || x.Result.ExitCode != -1 {
				e.Errorf("expired with %+v", x.Result)
			}
			e.agent(hosts[1]).none()
		}},
		{name: "a clock that went back while it was leased", once: true, run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", pickup(time.Minute))
			e.agent("h").lease(1)
			e.advance(70 * time.Second)
			same(e, "Swept past deliver_until", e.sweep(), queue.Swept{}) // its lease has half of its time left
			e.want(job, "h", queue.Leased)
			e.advance(-70 * time.Second) // as after a failover to a server whose clock is behind
			e.sweep()
			same(e, "Swept", e.pass(30*time.Second), queue.Swept{Lapsed: 1})
			e.want(job, "h", queue.Queued)
			e.advance(time.Minute)
			same(e, "Swept past deliver_until again", e.sweep(), queue.Swept{Expired: 1})
			e.want(job, "h", queue.Expired)
		}},
		{name: "cancelled before not_before", once: true, run: func(e *env) {
			e.enroll("h")
			at := e.now().Add(time.Minute)
			job := e.queued("h", func(s *queue.Spec) { s.NotBefore = at })
			e.cancel(job)
			e.advance(48 * time.Hour)
			same(e, "Swept", e.sweep(), queue.Swept{})
			e.want(job, "h", queue.Cancelled)
		}},
		{name: "silence counts from the start", once: true, run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", short)
			a := e.agent("h")
			d := a.one()
			a.says("1 go", a.accepted(d))
			limit := time.Minute + time.Second + queue.SilenceGrace
			e.pass(limit - 30*time.Second)
			e.want(job, "h", queue.Accepted)
			a.says("2", a.started(d))
			e.pass(limit - 30*time.Second)
			e.want(job, "h", queue.Running)
			same(e, "Swept", e.pass(time.Minute), queue.Swept{Lost: 1})
			if x := e.want(job, "h", queue.Lost); x.Result.Reason == "" {
				e.Error("lost without a reason")
			}
			a.says("3", a.finished(d, 3, queue.Succeeded)) // too late
			if x := e.want(job, "h", queue.Lost); x.Late == nil {
				e.Error("the late result wasn't kept")
			}
		}},
		{name: "an outage lets nothing lapse, and nothing be lost", run: func(e *env) {
			e.enroll("h")
			leased, running := e.queued("h", short), e.queued("h", short, lane(queue.LaneUrgent))
			a := e.agent("h")
			ds := a.take(2)
			a.says("2 go", a.accepted(ds[0]), a.started(ds[0]))
			e.advance(12 * time.Hour) // the store, or all sweepers, were away
			e.sweep()
			e.want(leased, "h", queue.Leased)
			e.want(running, "h", queue.Running)
			a.says("1 go", a.accepted(ds[1]))
			a.finish(ds[0], 3)
		}},
		{name: "an outage counts for not_before and pickup", run: func(e *env) {
			e.enroll("h")
			at := e.now().Add(time.Hour)
			due := e.queued("h", func(s *queue.Spec) { s.NotBefore = at })
			gone := e.queued("h", pickup(time.Hour))
			e.advance(2 * time.Hour)
			e.sweep()
			e.want(gone, "h", queue.Expired)
			if d := e.agent("h").one(); d.Execution.Job != due {
				e.Errorf("delivered %+v", d)
			}
		}},
		{name: "a finished one can't be silent", once: true, run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("3", a.accepted(d), a.started(d), a.finished(d, 3, queue.Succeeded))
			e.advance(queue.DefaultRunTimeout)
			same(e, "Swept", e.pass(queue.SilenceGrace+time.Minute), queue.Swept{})
			e.want(job, "h", queue.Succeeded)
		}},
		{name: "budget", once: true, run: func(e *env) {
			hosts := e.many(7)
			job := e.queuedAll(hosts, pickup(time.Minute))
			e.advance(61 * time.Second)
			expired, rounds := 0, 0
			for ; ; rounds++ {
				sw, err := e.s.Sweep(e.ctx, 3, queue.Retention{})
				e.ok(err, "Sweep")
				if sw.Expired > 3 {
					e.Errorf("a sweep of 3 expired %d", sw.Expired)
				}
				if expired += sw.Expired; !sw.More || rounds > 100 {
					break
				}
			}
			same(e, "expired", expired, 7)
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Expired: 7})
			if rounds == 0 {
				e.Error("a sweep of 3 said that there is no more, of 7")
			}
		}},
		{name: "several sweepers at once", once: true, run: func(e *env) {
			hosts := e.many(20)
			job := e.queuedAll(hosts, pickup(time.Minute))
			e.advance(61 * time.Second)
			type answer struct {
				sw  queue.Swept
				err error
			}
			answers := make(chan answer)
			for range 4 {
				go func() {
					sw, err := e.s.Sweep(e.ctx, 1000, queue.Retention{})
					answers <- answer{sw, err}
				}()
			}
			expired := 0
			for range 4 {
				a := <-answers
				e.ok(a.err, "Sweep")
				expired += a.sw.Expired
			}
			same(e, "expired", expired, 20)
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Expired: 20})
		}},
	}
}
