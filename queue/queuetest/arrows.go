package queuetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// subject is an execution that was brought into a state, with its host's agent.
type subject struct {
	e    *env
	host queue.HostID
	job  queue.JobID
	a    *agent         // nil if it was never delivered
	d    queue.Delivery // zero if it was never delivered

	stored int64 // events, when it was in that state
}

// reach brings a new execution on a new host into a state.
func (e *env) reach(host queue.HostID, want queue.State) *subject {
	e.Helper()
	defer func(s queue.Store) { e.s = s }(e.s)
	e.s = e.in.Store // what leads there need not be applied twice
	e.enroll(host)
	s := &subject{e: e, host: host}
	spec := func(n *queue.NewJob) {
		n.Job.Spec.RunTimeout, n.Job.Spec.Grace = time.Second, time.Second
		if want == queue.Expired {
			n.Job.Spec.PickupTimeout = time.Second
		}
	}
	s.job = e.submit([]queue.HostID{host}, spec)
	if want != queue.Planned {
		e.expand(s.job)
	}
	switch want {
	case queue.Planned, queue.Queued:
	case queue.Cancelled:
		e.cancel(s.job)
	case queue.Expired:
		e.advance(2 * time.Second)
		e.sweep()
	default:
		s.a = e.agent(host)
		s.d = s.a.one()
		s.deliver(want)
	}
	s.stored = e.want(s.job, host, want).Stored
	return s
}

func (s *subject) deliver(want queue.State) {
	s.e.Helper()
	a, d := s.a, s.d
	switch want {
	case queue.Leased:
		return
	case queue.Rejected:
		a.record(a.rejected(d, 1))
		return
	}
	a.says("1 go", a.accepted(d))
	switch want {
	case queue.Accepted:
	case queue.Lost:
		a.hello()
	case queue.Running:
		a.record(a.started(d))
	default:
		a.record(a.started(d), a.finished(d, 3, want))
	}
}

// report sends an event, if there is an agent that has the delivery, or else
// as one that claims to have it.
func (s *subject) report(make func(a *agent, d queue.Delivery, next int64) queue.Event) {
	s.e.Helper()
	if s.a == nil {
		s.a = s.e.process(s.host)
		s.d = queue.Delivery{Execution: s.e.execution(s.job, s.host), Token: "made-up"}
	}
	next := max(2, s.e.execution(s.job, s.host).Stored+1)
	s.a.record(make(s.a, s.d, next))
}

// act is something that happens to an execution. arrows are the moves that it
// makes, as pairs of state bytes; in every other state it changes nothing.
type act struct {
	name   string
	arrows string
	do     func(s *subject)
	pass   func(e *env)     // if not nil: lets time pass, for all subjects at once
	then   func(s *subject) // after it
}

func acts() []act {
	report := func(name, arrows string, make func(a *agent, d queue.Delivery, next int64) queue.Event) act {
		return act{name: name, arrows: arrows, do: func(s *subject) { s.report(make) }}
	}
	kind := func(name, arrows string, k queue.EventKind) act {
		return report(name, arrows, func(a *agent, d queue.Delivery, n int64) queue.Event { return a.event(d, n, k) })
	}
	lapse := func(e *env) { e.pass(queue.DefaultLeaseTTL + 15*time.Second) }
	expiry := func(e *env) {
		e.advance(queue.DefaultPickupTimeout + time.Second)
		e.sweep()
	}
	all := []act{
		{name: "expand", arrows: "pq", do: func(s *subject) { s.e.expand(s.job) }},
		{name: "lease", arrows: "ql", do: func(s *subject) { s.e.agent(s.host, s.keep()).take(10) }},
		{name: "claim by a process with empty hands", arrows: "lq ax rx", do: func(s *subject) {
			s.e.agent(s.host, func(c *queue.Claim) { c.Position = 1000 })
		}},
		{name: "claim by another generation", arrows: "lq ax rx", do: func(s *subject) {
			s.e.agent(s.host, func(c *queue.Claim) { c.Generation = "gen-2" })
		}},
		{name: "claim with it in hand", do: func(s *subject) { s.e.agent(s.host, s.keep()) }},
		{name: "release of the session", arrows: "lq", do: func(s *subject) {
			if s.a != nil {
				s.e.ok(s.e.s.Release(s.e.ctx, s.host, s.a.session), "Release")
			}
		}},
		{name: "cancel of the job", arrows: "pc qc", do: func(s *subject) { s.e.cancel(s.job) }},
		{name: "cancel of the host", arrows: "pc qc", do: func(s *subject) { s.e.cancel(s.job, s.host) }},
		{name: "cancel and release of the session", arrows: "pc qc lc", do: func(s *subject) {
			s.e.cancel(s.job)
			if s.a != nil {
				s.e.ok(s.e.s.Release(s.e.ctx, s.host, s.a.session), "Release")
			}
		}},
		{name: "cancel, then accepted", arrows: "pc qc lc", do: func(s *subject) {
			s.e.cancel(s.job)
			s.report(func(a *agent, d queue.Delivery, _ int64) queue.Event { return a.accepted(d) })
		}},
		report("accepted", "la", func(a *agent, d queue.Delivery, _ int64) queue.Event { return a.accepted(d) }),
		report("accepted under a wrong token", "", func(a *agent, d queue.Delivery, _ int64) queue.Event {
			d.Token = "wrong"
			return a.accepted(d)
		}),
		report("rejected", "lj", func(a *agent, d queue.Delivery, _ int64) queue.Event { return a.rejected(d, 1) }),
		report("rejected after accepted", "aj", func(a *agent, d queue.Delivery, _ int64) queue.Event { return a.rejected(d, 2) }),
		kind("started", "ar", queue.EventStarted),
		report("output", "ar", func(a *agent, d queue.Delivery, n int64) queue.Event { return a.output(d, n, queue.Stdout, "x") }),
		report("gap", "ar", func(a *agent, d queue.Delivery, n int64) queue.Event { return a.gap(d, n, n+3, 5) }),
		{name: "enrolment anew", arrows: "pc qc lc ax rx", do: func(s *subject) { s.e.reenroll(s.host); s.e.expand(s.job) }},
		{name: "revocation", arrows: "pc qc lc ax rx", do: func(s *subject) {
			s.e.ok(s.e.s.Revoke(s.e.ctx, s.host), "Revoke")
			s.e.expand(s.job)
		}},
		{name: "deletion", arrows: "pc qc lc ax rx", do: func(s *subject) {
			s.e.ok(s.e.s.DeleteHost(s.e.ctx, s.host), "DeleteHost")
			s.e.expand(s.job)
		}},
		{name: "lapse", arrows: "lq", pass: lapse},
		{name: "cancel and lapse", arrows: "pc qc lc", do: func(s *subject) { s.e.cancel(s.job) }, pass: lapse},
		{name: "expiry", arrows: "qe", pass: expiry},
		{name: "expiry and lapse", arrows: "qe le", pass: func(e *env) { expiry(e); lapse(e) }},
		{name: "expiry, then accepted", arrows: "qe le", pass: expiry, then: func(s *subject) {
			s.report(func(a *agent, d queue.Delivery, _ int64) queue.Event { return a.accepted(d) })
		}},
		{name: "silence", arrows: "lq ax rx", pass: func(e *env) { e.pass(queue.SilenceGrace + 30*time.Second) }},
	}
	for _, outcome := range []queue.State{queue.Succeeded, queue.Failed, queue.TimedOut, queue.Cancelled, queue.Lost} {
		all = append(all, report("finished as "+outcome.String(), fmt.Sprintf("a%[1]c r%[1]c", outcome),
			func(a *agent, d queue.Delivery, n int64) queue.Event { return a.finished(d, n, outcome) }))
	}
	return all
}

// keep makes a hello name the execution as in hand, if it was delivered.
func (s *subject) keep() func(*queue.Claim) {
	if s.a == nil {
		return inHand()
	}
	return inHand(holding(s.d, s.e.execution(s.job, s.host).Stored+1))
}

// after is the state that the act leads to.
func (a act) after(from queue.State) queue.State {
	for i := 0; i+1 < len(a.arrows); i += 3 {
		if queue.State(a.arrows[i]) == from {
			return queue.State(a.arrows[i+1])
		}
	}
	return from
}

// arrowScenarios try every act in every state: what the table has happens, and
// nothing else. Acts that let time pass have a store of their own.
func arrowScenarios() (all []scenario) {
	var rest []act
	for _, a := range acts() {
		if a.pass != nil {
			all = append(all, scenario{name: a.name, run: func(e *env) { e.tryActs(a) }})
		} else {
			rest = append(rest, a)
		}
	}
	for some := range slices.Chunk(rest, 8) {
		all = append(all, scenario{name: some[0].name + " and others", run: func(e *env) { e.tryActs(some...) }})
	}
	return all
}

func (e *env) tryActs(some ...act) {
	e.Helper()
	for i, a := range some {
		var subjects []*subject
		for _, from := range queue.States() {
			s := e.reach(queue.HostID(fmt.Sprint("host-", i, "-", from)), from)
			if a.do != nil {
				a.do(s)
			}
			subjects = append(subjects, s)
		}
		if a.pass != nil {
			a.pass(e)
		}
		for j, from := range queue.States() {
			s := subjects[j]
			if a.then != nil {
				a.then(s)
			}
			x := e.execution(s.job, s.host)
			if want := a.after(from); x.State != want {
				e.Errorf("%s: %v -> %v, want %v", a.name, from, x.State, want)
			}
			if from.Terminal() && from != queue.Lost && x.Stored != s.stored {
				e.Errorf("%s: %v has %d events stored, had %d", a.name, from, x.Stored, s.stored)
			}
		}
	}
}
