package queuetest

import (
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func (e *env) purge(host queue.HostID, running bool) queue.Cancellation {
	e.Helper()
	c, err := e.s.Purge(e.ctx, host, running, "bob")
	e.ok(err, "Purge %s", host)
	return c
}

// inEachState makes a host with one execution in each state that isn't terminal, and one that has ended:
// queued, delayed, in another lane, leased, accepted, running, planned, succeeded.
func (e *env) inEachState(host queue.HostID) (a *agent, ds []queue.Delivery, jobs []queue.JobID) {
	e.Helper()
	e.enroll(host)
	a = e.agent(host, slots(map[queue.Lane]int{"default": 4}))
	for range 4 {
		jobs = append(jobs, e.queued(host))
	}
	ds = a.take(100)
	a.says("1 go", a.accepted(ds[1]))
	a.says("2 go", a.accepted(ds[2]), a.started(ds[2]))
	a.says("3", a.accepted(ds[3]), a.started(ds[3]), a.finished(ds[3], 3, queue.Succeeded))
	fill := e.queued(host, priority(100)) // into the slot that is free again
	a.says("2 go", func() []queue.Event { d := a.one(); return []queue.Event{a.accepted(d), a.started(d)} }()...)
	e.want(fill, host, queue.Running)
	return a, ds, []queue.JobID{
		e.queued(host), e.queued(host, notBefore(e.now().Add(time.Hour))), e.queued(host, lane("batch")),
		jobs[0], jobs[1], jobs[2], e.submit([]queue.HostID{host}), jobs[3],
	}
}

// statesOn tells the states of a host's executions, one letter a job.
func (e *env) statesOn(host queue.HostID, jobs ...queue.JobID) string {
	e.Helper()
	var b strings.Builder
	for _, j := range jobs {
		b.WriteByte(byte(e.execution(j, host).State))
	}
	return b.String()
}

func purgeScenarios() []scenario {
	return []scenario{
		{name: "what waits", run: func(e *env) {
			a, ds, jobs := e.inEachState("h")
			e.enroll("other")
			other := e.queued("other")
			same(e, "states before", e.statesOn("h", jobs...), "qqqlarps")
			same(e, "Purge", e.purge("h", false), queue.Cancellation{Cancelled: 3, Asked: 1})
			same(e, "states", e.statesOn("h", jobs...), "ccclarps")
			for _, job := range jobs[:3] {
				if x := e.execution(job, "h"); x.Result.Reason != queue.WhyCancelled("bob") || x.CancelledAt.IsZero() {
					e.Errorf("purged: %+v", x)
				}
				same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Cancelled: 1})
				same(e, "Control", e.counters(job).Control, queue.Active)
			}
			for _, job := range jobs[4:6] {
				if !e.execution(job, "h").CancelledAt.IsZero() {
					e.Errorf("what was accepted is asked to end: %s", job)
				}
			}
			e.want(other, "other", queue.Queued)
			a.none()
			same(e, "Purge again", e.purge("h", false), queue.Cancellation{})
			a.says("0 forget cancelled", a.accepted(ds[0]))
			same(e, "states after", e.statesOn("h", jobs...), "ccccarps")
			same(e, "released later", e.expand(jobs[6]), 1)
			same(e, "the queue is open", e.queueOf("h", jobs[6]), "-1 -1 -1 0")
		}},
		{name: "what runs, too", run: func(e *env) {
			a, ds, jobs := e.inEachState("h")
			same(e, "Purge", e.purge("h", true), queue.Cancellation{Cancelled: 3, Asked: 4})
			same(e, "states", e.statesOn("h", jobs...), "ccclarps")
			f := a.lease(100)
			cancels := 0
			for _, d := range f.Deliveries {
				if d.Cancel {
					cancels++
				}
			}
			same(e, "asked", words(len(f.Deliveries), cancels), "3 3")
			a.n = f.N
			same(e, "Purge again", e.purge("h", true), queue.Cancellation{})
			a.none()
			a.says("3", a.finished(ds[2], 3, queue.Cancelled))
			a.says("0 forget cancelled", a.accepted(ds[0]))
			e.wantCancelledBy(jobs[5], "h")
			e.wantCancelledBy(jobs[3], "h")
		}},
		{name: "what runs, after what waits", run: func(e *env) {
			_, _, jobs := e.inEachState("h")
			e.purge("h", false)
			same(e, "Purge", e.purge("h", true), queue.Cancellation{Asked: 3})
			same(e, "states", e.statesOn("h", jobs...), "ccclarps")
		}},
		{name: "of what isn't there", run: func(e *env) {
			_, err := e.s.Purge(e.ctx, "nobody", true, "bob")
			e.code(err, queue.NotFound, "Purge of an unknown host")
			e.enroll("h", "revoked", "deleted")
			same(e, "Purge of nothing", e.purge("h", true), queue.Cancellation{})
			for _, h := range []queue.HostID{"revoked", "deleted"} {
				e.queued(h)
				e.agent(h).running()
				e.queued(h)
			}
			e.ok(e.s.Revoke(e.ctx, "revoked"), "Revoke")
			e.ok(e.s.DeleteHost(e.ctx, "deleted"), "DeleteHost")
			same(e, "Purge of a revoked host", e.purge("revoked", true), queue.Cancellation{})
			same(e, "Purge of a deleted host", e.purge("deleted", true), queue.Cancellation{})
		}},
		{name: "much of it", once: true, run: func(e *env) {
			e.enroll("h")
			jobs := e.pile("h", crowd)
			delayed := e.pile("h", 20, notBefore(e.now().Add(time.Hour)))
			same(e, "Purge", e.purge("h", false), queue.Cancellation{Cancelled: crowd + 20})
			e.want(jobs[0], "h", queue.Cancelled)
			e.want(jobs[crowd-1], "h", queue.Cancelled)
			e.want(delayed[0], "h", queue.Cancelled)
			xs, err := e.s.HostQueue(e.ctx, "h", 1000)
			e.ok(err, "HostQueue")
			same(e, "left in the queue", len(xs), 0)
			e.advance(2 * time.Hour)
			same(e, "Swept", e.sweep(), queue.Swept{})
		}},
		{name: "one superseded already keeps its reason", run: func(e *env) {
			e.enroll("h")
			older := e.queued("h", keyed("k"))
			a := e.agent("h")
			d := a.one()
			newer := e.queued("h", keyed("k"))
			same(e, "Purge", e.purge("h", false), queue.Cancellation{Cancelled: 1})
			a.says("0 forget cancelled", a.accepted(d))
			e.wantSuperseded(older, "h", newer)
			e.wantCancelledBy(newer, "h")
		}},
	}
}

// wantCancelledBy fails the test unless the operator of the helpers has ended the execution.
func (e *env) wantCancelledBy(job queue.JobID, host queue.HostID) {
	e.Helper()
	if x := e.want(job, host, queue.Cancelled); x.Result.Reason != queue.WhyCancelled("bob") {
		e.Errorf("cancelled: %+v", x.Result)
	}
}
