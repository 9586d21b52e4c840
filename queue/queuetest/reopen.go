package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

// reopen closes the store and opens it again. False if the factory can't.
func (e *env) reopen() bool {
	e.Helper()
	if e.in.Reopen == nil {
		return false
	}
	old := e.in.Store
	e.in.Store = e.in.Reopen(e)
	if _, err := old.Now(e.ctx); queue.CodeOf(err) != queue.Unavailable {
		e.Errorf("Now of a closed store: %v, want %q", err, queue.Unavailable)
	}
	if _, _, err := old.ListJobs(e.ctx, "", 1); queue.CodeOf(err) != queue.Unavailable {
		e.Errorf("ListJobs of a closed store: %v, want %q", err, queue.Unavailable)
	}
	e.s = e.in.Store
	if e.twice {
		e.s = &twiceStore{Store: e.in.Store, t: e}
	}
	return true
}

func reopenScenarios() []scenario {
	return []scenario{
		{name: "everything goes on", run: func(e *env) {
			a, ds := three(e)
			hosts := e.many(5)
			planned := e.submit(hosts)
			waiting := e.queued(hosts[0])
			e.cancel(ds[2].Execution.Job)
			held := a.lease(10)
			a.says("3", a.output(ds[2], 3, queue.Stderr, "x"))
			if !e.reopen() {
				return
			}
			same(e, "states", e.statesOf(ds...), "lar")
			e.want(waiting, hosts[0], queue.Queued)
			again := a.lease(10) // the same session goes on
			same(e, "held", len(again.Deliveries), len(held.Deliveries))
			for i, d := range again.Deliveries {
				if d.N != held.Deliveries[i].N || d.Token != held.Deliveries[i].Token {
					e.Errorf("held %+v, then %+v", held.Deliveries[i], d)
				}
			}
			a.says("1 go", a.accepted(ds[0]))
			a.says("3", a.output(ds[2], 3, queue.Stderr, "x"))
			a.says("4", a.finished(ds[2], 4, queue.Cancelled))
			same(e, "released", e.expand(planned), 5)
		}},
		{name: "time while it was closed lets nothing lapse", run: func(e *env) {
			_, _, job := e.taken("h")
			e.pass(10 * time.Second)
			if !e.reopen() {
				return
			}
			e.advance(time.Hour)
			e.sweep() // service time goes on by MaxTick at most, whatever the gap
			e.want(job, "h", queue.Leased)
			e.pass(20 * time.Second)
			e.want(job, "h", queue.Queued)
		}},
		{name: "a closed store", run: func(e *env) {
			if !e.reopen() {
				return
			}
			e.enroll("h")
			e.queued("h")
			if !e.reopen() {
				return
			}
			e.agent("h").one()
		}},
	}
}
