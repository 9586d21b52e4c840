package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// agent is a Peer that runs its jobs in memory: accepted, and after the go started,
// some output, finished. It checks that each method has one caller at a time.
type agent struct {
	t      testing.TB
	chunks int // of output per job
	size   int // of a chunk

	busyIn [3]atomic.Bool // Hello, Deliver, Pull

	mu        sync.Mutex
	xs        map[string]*run
	order     []string
	welcomes  []*wire.Welcome
	cancels   []string
	changed   chan struct{}
	maxUnack  int64
	helloes   int
	failPull  error
	onDeliver func(wire.Message)
}

// run is an execution in the agent's hand.
type run struct {
	token  string
	events []wire.Event
	given  int // events[:given] were given
	acked  int
	gos    int
	jobs   int // deliveries
}

func newAgent(t testing.TB) *agent {
	return &agent{t: t, chunks: 3, size: 100, xs: map[string]*run{}, changed: make(chan struct{})}
}

func (a *agent) enter(i int, name string) func() {
	if !a.busyIn[i].CompareAndSwap(false, true) {
		a.t.Errorf("%s was called by two at a time", name)
	}
	return func() { a.busyIn[i].Store(false) }
}

func (a *agent) Hello() wire.Hello {
	defer a.enter(0, "Hello")()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.helloes++
	h := wire.Hello{AgentVersion: "test", BootID: "b", Generation: "g", Nonce: "n", Standby: true}
	for _, id := range a.order {
		if x := a.xs[id]; !x.done() {
			h.Executions = append(h.Executions, wire.InHand{Execution: id, Token: x.token, Seq: int64(len(x.events))})
		}
	}
	return h
}

func (x *run) done() bool {
	_, fin := x.events[len(x.events)-1].(*wire.Finished)
	return fin && x.acked == len(x.events)
}

func (a *agent) Deliver(m wire.Message) {
	defer a.enter(1, "Deliver")()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.onDeliver != nil {
		a.onDeliver(m)
	}
	switch m := m.(type) {
	case *wire.Welcome:
		a.welcomes = append(a.welcomes, m)
		for _, x := range a.xs {
			x.given = x.acked
		}
		for _, r := range m.Executions {
			if x := a.xs[r.Execution]; x != nil {
				x.acked, x.given = int(r.Stored), int(r.Stored)
				a.verdict(r.Execution, x, r.Verdict)
			}
		}
	case *wire.Job:
		x := a.xs[m.Execution]
		if x == nil {
			x = &run{}
			a.xs[m.Execution] = x
			a.order = append(a.order, m.Execution)
			x.events = []wire.Event{&wire.Accepted{Execution: m.Execution, Seq: 1, Token: m.Token}}
		}
		x.jobs++
		x.token = m.Token
		x.events[0].(*wire.Accepted).Token = m.Token
		x.acked, x.given = 0, 0
	case *wire.Ack:
		if x := a.xs[m.Execution]; x != nil {
			x.acked = int(m.Stored)
			x.given = max(x.given, x.acked)
			a.verdict(m.Execution, x, m.Verdict)
		}
	case *wire.Cancel:
		a.cancels = append(a.cancels, m.Execution)
	default:
		a.t.Errorf("a %s was delivered", m.Type())
	}
	a.change()
}

func (a *agent) verdict(id string, x *run, v wire.Verdict) {
	if v != wire.VerdictGo || x.gos > 0 {
		return
	}
	x.gos++
	add := func(e wire.Event) { x.events = append(x.events, e) }
	add(&wire.Started{Execution: id, Seq: 2})
	for i := range a.chunks {
		text := fmt.Sprintf("%0*d", a.size, i)
		add(&wire.Output{Execution: id, Seq: int64(3 + i), Stream: wire.Stdout, Text: text})
	}
	add(&wire.Finished{Execution: id, Seq: int64(3 + a.chunks), Outcome: wire.Succeeded})
}

func (a *agent) change() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) Pull(ctx context.Context, credit int64, first bool) ([]wire.Event, error) {
	defer a.enter(2, "Pull")()
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.mu.Lock()
		if a.failPull != nil {
			defer a.mu.Unlock()
			return nil, a.failPull
		}
		var out []wire.Event
	gather:
		for _, id := range a.order {
			for x := a.xs[id]; x.given < len(x.events); x.given++ {
				size := wire.EventSize(x.events[x.given])
				if size > credit && !(first && len(out) == 0) {
					break gather
				}
				credit -= size
				out = append(out, x.events[x.given])
			}
		}
		a.maxUnack = max(a.maxUnack, a.unacked())
		changed := a.changed
		a.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (a *agent) Unacked() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unacked()
}

func (a *agent) unacked() (n int64) {
	for _, x := range a.xs {
		for _, e := range x.events[min(x.acked, x.given):x.given] {
			n += wire.EventSize(e)
		}
	}
	return n
}

func (a *agent) mostOnWay() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.maxUnack
}

func (a *agent) Busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.xs {
		if !x.done() {
			return true
		}
	}
	return false
}
