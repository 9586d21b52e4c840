package queuetest

import (
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

func cancelScenarios() []scenario {
	return []scenario{
		{name: "in every state", run: func(e *env) {
			e.enroll("a", "b", "c", "d", "e")
			hosts := []queue.HostID{"a", "b", "c", "d", "e"}
			job := e.queuedAll(hosts)
			agents := map[queue.HostID]*agent{}
			ds := map[queue.HostID]queue.Delivery{}
			for _, h := range hosts[1:] {
				agents[h] = e.agent(h)
				ds[h] = agents[h].one()
			}
			for _, h := range hosts[2:] {
				agents[h].says("1 go", agents[h].accepted(ds[h]))
			}
			agents["d"].says("2", agents["d"].started(ds["d"]))
			agents["e"].says("2", agents["e"].finished(ds["e"], 2, queue.Failed))
			same(e, "Cancel", e.cancel(job), queue.Cancellation{Cancelled: 1, Asked: 3})
			e.want(job, "a", queue.Cancelled)
			e.want(job, "b", queue.Leased)
			e.want(job, "c", queue.Accepted)
			e.want(job, "d", queue.Running)
			e.want(job, "e", queue.Failed)
			for _, h := range hosts[1:4] {
				if e.execution(job, h).CancelledAt.IsZero() {
					e.Errorf("%s isn't flagged", h)
				}
			}
			same(e, "Control", e.counters(job).Control, queue.ControlStopped)
			same(e, "Cancel again", e.cancel(job).Cancelled, 0)
		}},
		{name: "a numbered message", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("1 go", a.accepted(d))
			a.says("2", a.started(d))
			e.cancel(job)
			f := a.lease(10)
			if len(f.Deliveries) != 1 || !f.Deliveries[0].Cancel || f.Deliveries[0].N <= d.N || f.Deliveries[0].Execution.ID() != d.Execution.ID() {
				e.Fatalf("after a cancel: %+v", f)
			}
			if again := a.lease(10); len(again.Deliveries) != 1 || again.Deliveries[0].N != f.Deliveries[0].N {
				e.Errorf("asked again with the same number: %+v", again)
			}
			e.cancel(job) // asked for again: no second message
			a.n = f.N
			a.none()
			same(e, "Cancel again", e.cancel(job, "h"), queue.Cancellation{})
			a.none()
			a.says("3", a.output(d, 3, queue.Stdout, "still here"))
			a.says("4", a.finished(d, 4, queue.Cancelled))
			e.want(job, "h", queue.Cancelled)
			a.none()
		}},
		{name: "comes with new work, and survives a hello", run: func(e *env) {
			e.enroll("h")
			first := e.queued("h")
			a := e.agent("h")
			d := a.running()
			e.cancel(first)
			u := e.queued("h", lane(queue.LaneUrgent))
			f := a.lease(10)
			if len(f.Deliveries) != 2 || !f.Deliveries[0].Cancel || f.Deliveries[1].Execution.Job != u {
				e.Errorf("a cancel and new work: %+v", f.Deliveries)
			}
			c := a.hello(inHand(holding(d, 2))) // neither had arrived
			same(e, "verdicts", verdicts(c, d), "0: 2 cancel")
			if d := a.one(); d.Cancel || d.Execution.Job != u {
				e.Errorf("after the hello: %+v", d)
			}
		}},
		{name: "by host", run: func(e *env) {
			e.enroll("a", "b", "c")
			job := e.queuedAll([]queue.HostID{"a", "b", "c"})
			same(e, "Cancel of two", e.cancel(job, "a", "c"), queue.Cancellation{Cancelled: 2})
			e.want(job, "a", queue.Cancelled)
			e.want(job, "b", queue.Queued)
			x := e.want(job, "c", queue.Cancelled)
			if !strings.Contains(x.Result.Reason, "bob") || x.CancelledAt.IsZero() {
				e.Errorf("cancelled: %+v", x)
			}
			same(e, "Control", e.counters(job).Control, queue.Active)
			e.agent("a").none()
			e.agent("b").one()
		}},
		{name: "of what isn't there", run: func(e *env) {
			e.enroll("a", "b")
			job := e.queued("a")
			_, err := e.s.Cancel(e.ctx, queue.NewJobID(e.now()), nil, "bob")
			e.code(err, queue.NotFound, "Cancel of an unknown job")
			_, err = e.s.Cancel(e.ctx, job, []queue.HostID{"a", "b"}, "bob")
			e.code(err, queue.NotFound, "Cancel for a host that is no target")
			e.want(job, "a", queue.Queued)
		}},
		{name: "flagged, then lapsed", once: true, run: func(e *env) {
			a, d, job := e.taken("h")
			e.cancel(job)
			same(e, "Swept", e.pass(45*time.Second), queue.Swept{Ended: 1})
			e.want(job, "h", queue.Cancelled)
			a.says("0 forget cancelled", a.accepted(d))
			a.none()
		}},
	}
}
