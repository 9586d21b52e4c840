package queuetest

import (
	"time"

	"github.com/rexgate/rexgate/queue"
)

func recheck(selector string) func(*queue.Spec) {
	return func(s *queue.Spec) { s.Recheck = selector }
}

func (e *env) label(host queue.HostID, key, value string) {
	e.Helper()
	_, err := e.s.Label(e.ctx, host, queue.LabelPatch{Set: map[string]string{key: value}})
	e.ok(err, "Label %s", host)
}

func (e *env) wantUnselected(jobs []queue.JobID, host queue.HostID) {
	e.Helper()
	for _, job := range jobs {
		x := e.want(job, host, queue.Cancelled)
		if x.Result.Reason != queue.WhyUnselected || x.Result.ExitCode != -1 || x.Deliveries != 0 || !x.CancelledAt.IsZero() {
			e.Errorf("withdrawn: %+v", x)
		}
	}
}

func recheckScenarios() []scenario {
	prod := recheck("env=prod")
	return []scenario{
		{name: "labels that still match", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			job := e.queued("h", recheck("env in (prod, test),!retired,name=h"))
			e.label("h", "color", "red")
			if d := e.agent("h").one(); d.Execution.Job != job {
				e.Errorf("delivered %+v", d)
			}
		}},
		{name: "withdrawn, and another comes in the same call", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			gone, kept := e.queued("h", prod), e.queued("h")
			a := e.agent("h")
			e.label("h", "env", "test")
			f := a.lease(100)
			same(e, "delivered", placed(f.Deliveries, gone, kept), "1")
			same(e, "in hand, more", words(f.InHand, f.More), "1 false")
			e.wantUnselected([]queue.JobID{gone}, "h")
			same(e, "counters", nonZero(e.counters(gone).Counters), queue.Counters{queue.Cancelled: 1})
			same(e, "states", string(e.states(gone)), "c")
			same(e, "queue", e.queueOf("h", gone, kept), "1")
		}},
		{name: "one that fits comes behind many that don't", once: true, run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			gone := e.pile("h", 150, prod, priority(5))
			kept := e.queued("h")
			a := e.agent("h")
			e.label("h", "env", "test")
			f := a.lease(100)
			same(e, "delivered", placed(f.Deliveries, kept), "0")
			e.wantUnselected([]queue.JobID{gone[0], gone[149]}, "h")
		}},
		{name: "only where it would be leased", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			busy := e.queued("h")
			a := e.agent("h")
			d := a.running()
			waits := e.queued("h", prod)
			e.label("h", "env", "test")
			a.none() // no slot is free
			e.want(waits, "h", queue.Queued)
			e.label("h", "env", "prod")
			a.finish(d, 3)
			if d := a.one(); d.Execution.Job != waits {
				e.Errorf("delivered %+v after %s", d, busy)
			}
		}},
		{name: "not more of them than are asked for", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			first, second := e.queued("h"), e.queued("h", prod)
			a := e.agent("h", slots(map[queue.Lane]int{"default": 5}))
			e.label("h", "env", "test")
			f := a.lease(1)
			same(e, "delivered", placed(f.Deliveries, first, second), "0")
			if !f.More {
				e.Error("there is more, and Lease says no")
			}
			e.want(second, "h", queue.Queued)
			a.n = f.N
			a.none()
			e.wantUnselected([]queue.JobID{second}, "h")
		}},
		{name: "what is leased stays, and is looked at when it is leased anew", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			stays, lapses := e.queued("h", prod), e.queued("h", prod)
			a := e.agent("h", slots(map[queue.Lane]int{"default": 2}))
			ds := a.lease(100).Deliveries
			e.label("h", "env", "test")
			same(e, "the same again", placed(a.lease(100).Deliveries, stays, lapses), "0 1")
			a.says("1 go", a.accepted(ds[0]))
			a.hello(inHand(holding(ds[0], 1)))
			a.none()
			e.want(stays, "h", queue.Accepted)
			if x := e.want(lapses, "h", queue.Cancelled); x.Result.Reason != queue.WhyUnselected || x.Deliveries != 1 {
				e.Errorf("withdrawn: %+v", x)
			}
			a.says("0 forget cancelled", a.accepted(ds[1]))
		}},
		{name: "each host by its own labels", run: func(e *env) {
			hosts := e.many(3)
			for _, h := range hosts {
				e.label(h, "env", "prod")
			}
			job := e.queuedAll(hosts, prod)
			e.label(hosts[1], "env", "test")
			_, err := e.s.Label(e.ctx, hosts[2], queue.LabelPatch{Remove: []string{"env"}})
			e.ok(err, "Label")
			for i, h := range hosts {
				if ds := e.agent(h).take(100); len(ds) != 1 && i == 0 || len(ds) != 0 && i > 0 {
					e.Errorf("%d deliveries to %s", len(ds), h)
				}
			}
			e.want(job, hosts[0], queue.Leased)
			e.wantUnselected([]queue.JobID{job}, hosts[1])
			e.wantUnselected([]queue.JobID{job}, hosts[2])
		}},
		{name: "one that is past its time isn't withdrawn", run: func(e *env) {
			e.enroll("h")
			e.label("h", "env", "prod")
			job := e.queued("h", prod, pickup(time.Minute))
			a := e.agent("h")
			e.label("h", "env", "test")
			e.advance(61 * time.Second)
			a.none()
			e.sweep()
			e.want(job, "h", queue.Expired)
		}},
	}
}
