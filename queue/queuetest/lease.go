package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

func leaseScenarios() []scenario {
	return []scenario{
		{name: "the same again until it has arrived", run: func(e *env) {
			e.enroll("h")
			first := e.queued("h")
			a := e.agent("h", slots(map[queue.Lane]int{"default": 3}))
			f1 := a.lease(10)
			second := e.queued("h")
			f2 := a.lease(10)
			same(e, "the poll repeated", placed(f2.Deliveries, first, second), "0 1")
			if d1, d2 := f1.Deliveries[0], f2.Deliveries[0]; d1.N != d2.N || d1.Token != d2.Token || d2.Execution.Deliveries != 1 {
				e.Errorf("delivered as %d %q, then as %d %q, for the %dth time", d1.N, d1.Token, d2.N, d2.Token, d2.Execution.Deliveries)
			}
			a.n = f1.N
			same(e, "after the first has arrived", placed(a.lease(10).Deliveries, first, second), "1")
			a.n = f2.N
			a.none()
		}},
		{name: "accepted isn't delivered again", run: func(e *env) {
			e.enroll("h")
			e.queued("h")
			a := e.agent("h")
			d := a.lease(10).Deliveries[0]
			a.says("1 go", a.accepted(d))
			if f := a.lease(10); len(f.Deliveries) != 0 || f.InHand != 1 {
				e.Errorf("Lease after accepted: %+v", f)
			}
		}},
		{name: "lapse", once: true, run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			a := e.agent("h")
			old := a.one()
			same(e, "swept before its time", e.pass(20*time.Second), queue.Swept{})
			e.want(job, "h", queue.Leased)
			same(e, "swept after", e.pass(20*time.Second), queue.Swept{Lapsed: 1})
			e.want(job, "h", queue.Queued)
			a.says("0 forget stale_token", a.accepted(old))
			d := a.one()
			if d.Token == old.Token || d.N <= old.N || d.Execution.Deliveries != 2 {
				e.Errorf("delivered as %+v, then as %+v", old, d)
			}
			a.says("0 forget stale_token", a.accepted(old))
			a.says("1 go", a.accepted(d))
			a.says("1", a.accepted(old)) // neither started under it, nor forgotten
		}},
		{name: "lease time is the caller's", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			a := e.agent("h")
			f := a.fetch(1)
			f.TTL = 2 * time.Minute
			_, err := e.s.Lease(e.ctx, f)
			e.ok(err, "Lease")
			e.pass(100 * time.Second)
			e.want(job, "h", queue.Leased)
			e.pass(40 * time.Second)
			e.want(job, "h", queue.Queued)
		}},
		{name: "lease isn't renewed by asking", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			a := e.agent("h")
			a.lease(1)
			e.pass(20 * time.Second)
			a.lease(1)
			e.pass(20 * time.Second)
			e.want(job, "h", queue.Queued)
		}},
		{name: "token counts at accepted only", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			a := e.agent("h")
			d := a.one()
			a.says("1 go", a.accepted(d))
			d.Token = "nonsense"
			a.says("2", a.started(d))
			a.says("3", a.finished(d, 3, queue.Succeeded))
			e.want(job, "h", queue.Succeeded)
		}},
		{name: "stale rejected", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			a := e.agent("h")
			old := a.one()
			e.pass(45 * time.Second)
			d := a.one()
			a.says("0 forget stale_token", a.rejected(old, 1))
			e.want(job, "h", queue.Leased)
			a.says("1", a.rejected(d, 1))
			if x := e.want(job, "h", queue.Rejected); x.Result.Reason != "no such user" || x.Result.ExitCode != -1 {
				e.Errorf("rejected with %+v", x.Result)
			}
		}},
		{name: "release", run: func(e *env) {
			e.enroll("h")
			waiting, taken := e.queued("h"), e.queued("h")
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2}))
			ds := a.take(10)
			a.says("1 go", a.accepted(ds[1]))
			e.ok(e.s.Release(e.ctx, "h", a.session-1), "Release of an older session")
			e.want(waiting, "h", queue.Leased)
			e.ok(e.s.Release(e.ctx, "h", a.session), "Release")
			e.want(waiting, "h", queue.Queued)
			e.want(taken, "h", queue.Accepted)
			_, err := e.s.Lease(e.ctx, a.fetch(10))
			e.code(err, queue.Superseded, "Lease by a session that was released")
			a.says("2", a.started(ds[1])) // reports need no session
			a.hello(inHand(holding(ds[1], 2)))
			if d := a.one(); d.Execution.Job != waiting || d.Token == ds[0].Token {
				e.Errorf("delivered %+v", d)
			}
			e.ok(e.s.Release(e.ctx, "nobody", 1), "Release for an unknown host")
		}},
		{name: "superseded", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h")
			old := e.agent("h")
			f := old.fetch(10)
			old.lease(10)
			e.agent("h", func(c *queue.Claim) { c.Gateway = "gw-2" })
			_, err := e.s.Lease(e.ctx, f)
			e.code(err, queue.Superseded, "Lease by a superseded session")
			f.Session += 100
			_, err = e.s.Lease(e.ctx, f)
			e.code(err, queue.Superseded, "Lease by a session that never was")
			e.want(job, "h", queue.Queued)
		}},
		{name: "never past deliver_until, swept or not", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", pickup(time.Minute))
			a := e.agent("h")
			e.advance(time.Minute + time.Second)
			if f := a.lease(10); len(f.Deliveries) != 0 || f.More {
				e.Errorf("delivered after deliver_until: %+v", f)
			}
			e.sweep()
			e.want(job, "h", queue.Expired)
		}},
		{name: "accepted within the lease, after deliver_until", run: func(e *env) {
			e.enroll("h")
			job := e.queued("h", pickup(time.Minute))
			a := e.agent("h")
			d := a.one()
			e.advance(time.Minute + time.Second)
			a.says("0 forget expired", a.accepted(d)) // no sweep was needed
			if x := e.want(job, "h", queue.Expired); x.Result.Reason == "" {
				e.Error("expired without a reason")
			}
			a.says("0 forget expired", a.accepted(d))
		}},
		{name: "lease bad input", run: func(e *env) {
			e.enroll("h")
			a := e.agent("h")
			f := a.fetch(10)
			f.Host = "nobody"
			if _, err := e.s.Lease(e.ctx, f); err == nil {
				e.Error("Lease for an unknown host succeeds")
			}
		}},
		{name: "numbers rise over sessions", run: func(e *env) {
			e.enroll("h")
			e.queued("h")
			a := e.agent("h")
			last := int64(0)
			for i := range 4 {
				d := a.one()
				if d.N <= last || d.Execution.Deliveries != i+1 {
					e.Errorf("delivery %d has N %d after %d", d.Execution.Deliveries, d.N, last)
				}
				last = d.N
				if c := a.hello(); c.N < last { // nothing in hand: released
					e.Errorf("hello gives N %d after %d", c.N, last)
				}
			}
			same(e, "queue", words(len(e.queueOf("h")) > 0), "true")
		}},
	}
}
