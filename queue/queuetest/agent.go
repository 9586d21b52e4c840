package queuetest

import (
	"fmt"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// agent is a host's side of the store: its session, its journal's position, the
// last message that has arrived.
type agent struct {
	e       *env
	claim   queue.Claim // of the next hello
	session int64
	n       int64
}

// agent makes a new process on a host, and lets it say hello. change may adjust
// the hello.
func (e *env) agent(host queue.HostID, change ...func(*queue.Claim)) *agent {
	e.Helper()
	a := e.process(host)
	a.hello(change...)
	return a
}

// process makes a new process on a host that hasn't said hello yet.
func (e *env) process(host queue.HostID) *agent {
	e.Helper()
	e.procs++
	return &agent{e: e, claim: queue.Claim{
		Host: host, Incarnation: e.incarnations[host], Gateway: "gw-1", Transport: queue.TransportSocket,
		AgentVersion: "1.0", BootID: "boot-1", Generation: "gen-1", Nonce: fmt.Sprint("process-", e.procs),
	}}
}

func (a *agent) hello(change ...func(*queue.Claim)) queue.Claimed {
	a.e.Helper()
	for _, c := range change {
		c(&a.claim)
	}
	c, err := a.e.s.Claim(a.e.ctx, a.claim)
	a.e.ok(err, "Claim %s", a.claim.Host)
	if c.Session <= a.session || c.N < a.n {
		a.e.Errorf("Claim: session %d after %d, N %d after %d", c.Session, a.session, c.N, a.n)
	}
	a.session, a.n = c.Session, c.N
	return c
}

func slots(m map[queue.Lane]int) func(*queue.Claim) {
	return func(c *queue.Claim) { c.Slots = m }
}

func inHand(xs ...queue.InHand) func(*queue.Claim) {
	return func(c *queue.Claim) { c.InHand = xs }
}

// holding is the entry of a hello for a delivery of which events up to seq are made.
func holding(d queue.Delivery, seq int64) queue.InHand {
	return queue.InHand{Execution: d.Execution.ID(), Token: d.Token, Seq: seq}
}

func (a *agent) fetch(limit int) queue.Fetch {
	return queue.Fetch{Host: a.claim.Host, Session: a.session, Gateway: a.claim.Gateway, After: a.n, Max: limit, TTL: queue.DefaultLeaseTTL, Due: a.claim.Due}
}

// lease asks for work without saying that it has arrived.
func (a *agent) lease(limit int) queue.Fetched {
	a.e.Helper()
	f, err := a.e.s.Lease(a.e.ctx, a.fetch(limit))
	a.e.ok(err, "Lease for %s", a.claim.Host)
	last := a.n
	for _, d := range f.Deliveries {
		if d.N <= last || d.N > f.N {
			a.e.Errorf("Lease after %d: message %d follows %d, the last is said to be %d", a.n, d.N, last, f.N)
		}
		if d.Cancel != (d.Token == "") {
			a.e.Errorf("Lease: cancel %v with token %q", d.Cancel, d.Token)
		}
		last = d.N
	}
	return f
}

// take asks for work, and all of it arrives.
func (a *agent) take(limit int) []queue.Delivery {
	a.e.Helper()
	f := a.lease(limit)
	a.n = f.N
	return f.Deliveries
}

// one takes exactly one delivery.
func (a *agent) one() queue.Delivery {
	a.e.Helper()
	ds := a.take(100)
	if len(ds) != 1 {
		a.e.Fatalf("Lease for %s: %d deliveries, want 1", a.claim.Host, len(ds))
	}
	return ds[0]
}

// none fails the test if something is delivered.
func (a *agent) none() {
	a.e.Helper()
	if ds := a.take(100); len(ds) != 0 {
		a.e.Errorf("Lease for %s: %d deliveries, want none: %+v", a.claim.Host, len(ds), ds)
	}
}

// tryRecord reports events of this host, the error included.
func (a *agent) tryRecord(events ...queue.Event) ([]queue.Ack, error) {
	return a.e.s.Record(a.e.ctx, queue.HostEvents{
		Host: a.claim.Host, Incarnation: a.claim.Incarnation, Generation: a.claim.Generation, Session: a.session, Events: events,
	})
}

// record reports events of one execution.
func (a *agent) record(events ...queue.Event) queue.Ack {
	a.e.Helper()
	acks, err := a.tryRecord(events...)
	a.e.ok(err, "Record %+v", events)
	if len(acks) != 1 || acks[0].Execution != events[0].Execution {
		a.e.Fatalf("Record of one execution: acks %+v", acks)
	}
	return acks[0]
}

// says reports events and compares the ack: "stored verdict reason".
func (a *agent) says(want string, events ...queue.Event) {
	a.e.Helper()
	if got := ackText(a.record(events...)); got != want {
		a.e.Errorf("ack of %s: %q, want %q", eventText(events), got, want)
	}
}

func ackText(k queue.Ack) string {
	s := fmt.Sprint(k.Stored)
	if k.Verdict != "" {
		s += " " + string(k.Verdict)
	}
	if k.Reason != "" {
		s += " " + k.Reason
	}
	return s
}

func eventText(events []queue.Event) (s string) {
	for _, e := range events {
		s += fmt.Sprint(e.Kind, "(", e.Seq, ")")
	}
	return s
}

// hostTime is the clock of all hosts: no business of the store's.
func hostTime() time.Time { return time.Now().Truncate(time.Millisecond) }

// accepted makes event 1; the journal moves on.
func (a *agent) accepted(d queue.Delivery) queue.Event {
	a.claim.Position++
	return queue.Event{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, At: hostTime(), Token: d.Token, Position: a.claim.Position}
}

func (a *agent) event(d queue.Delivery, seq int64, kind queue.EventKind) queue.Event {
	return queue.Event{Execution: d.Execution.ID(), Seq: seq, Kind: kind, At: hostTime()}
}

func (a *agent) rejected(d queue.Delivery, seq int64) queue.Event {
	e := a.event(d, seq, queue.EventRejected)
	e.Token, e.Reason = d.Token, "no such user"
	return e
}

func (a *agent) started(d queue.Delivery) queue.Event { return a.event(d, 2, queue.EventStarted) }

func (a *agent) output(d queue.Delivery, seq int64, stream queue.Stream, text string) queue.Event {
	e := a.event(d, seq, queue.EventOutput)
	e.Stream, e.Data = stream, []byte(text)
	return e
}

func (a *agent) gap(d queue.Delivery, seq, through, bytes int64) queue.Event {
	e := a.event(d, seq, queue.EventGap)
	e.Through, e.Bytes = through, bytes
	return e
}

func (a *agent) finished(d queue.Delivery, seq int64, outcome queue.State) queue.Event {
	e := a.event(d, seq, queue.EventFinished)
	e.Outcome = outcome
	if outcome != queue.Succeeded {
		e.ExitCode = 3
	}
	return e
}

// running takes one delivery, accepts and starts it.
func (a *agent) running() queue.Delivery {
	a.e.Helper()
	d := a.one()
	a.says("1 go", a.accepted(d))
	a.says("2", a.started(d))
	return d
}

// finish lets a started execution end well, with the events up to seq-1 stored.
func (a *agent) finish(d queue.Delivery, seq int64) {
	a.e.Helper()
	a.says(fmt.Sprint(seq), a.finished(d, seq, queue.Succeeded))
}
