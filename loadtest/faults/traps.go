package faults

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/session/wire"
)

// point is a moment in the way of an execution on a light host.
type point string

// The points, in the order of an execution's way, with what it is in the store then.
const (
	pointJob    point = "job"    // delivered, not yet seen by the agent: leased
	pointAccept point = "accept" // journalled, accepted not yet sent: leased
	pointGo     point = "go"     // the store's go not yet seen by the agent: accepted
	pointStart  point = "start"  // start mark on disk, script not started: accepted
	pointRun    point = "run"    // the script is in its middle: running
	pointEnd    point = "end"    // the script came to its end, the agent doesn't know: running
	pointStored point = "stored" // the last event is stored, the agent doesn't know: ended
)

// points gives those at which an execution is in a column of the table.
var points = map[column][]point{
	colLeased: {pointJob, pointAccept}, colAccepted: {pointGo, pointStart}, colRunning: {pointRun, pointEnd}, colEnded: {pointStored},
}

// trap holds the next execution that reaches its point.
type trap struct {
	Point point         `json:"point"`
	Hosts []string      `json:"hosts,omitempty"` // nil = any
	Bound time.Duration `json:"bound"`           // it is never held longer
	free  chan struct{}
}

// traps is the trap of a process, one at a time.
type traps struct {
	held func(host, execution string)

	mu    sync.Mutex // guards the following
	armed *trap      // nil = none
	hold  *trap      // that holds something
}

func (t *traps) arm(x trap) {
	t.release()
	x.free = make(chan struct{})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = &x
}

// release lets go of what is held, and disarms.
func (t *traps) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = nil
	if t.hold != nil {
		close(t.hold.free)
		t.hold = nil
	}
}

// reach blocks while the execution is held.
func (t *traps) reach(p point, host, execution string) {
	t.mu.Lock()
	x := t.armed
	if x == nil || x.Point != p || x.Hosts != nil && !slices.Contains(x.Hosts, host) {
		t.mu.Unlock()
		return
	}
	t.armed, t.hold = nil, x
	t.mu.Unlock()
	t.held(host, execution)
	bound := time.NewTimer(x.Bound)
	defer bound.Stop()
	select {
	case <-x.free:
	case <-bound.C:
	}
}

// trapped is an agent whose messages run into traps.
type trapped struct {
	*agent.Agent
	host  string
	traps *traps

	mu   sync.Mutex // guards the following
	last map[string]int64
}

// Deliver implements client.Peer.
func (p *trapped) Deliver(m wire.Message) {
	switch m := m.(type) {
	case *wire.Job:
		p.traps.reach(pointJob, p.host, m.Execution)
	case *wire.Ack:
		if m.Verdict == wire.VerdictGo {
			p.traps.reach(pointGo, p.host, m.Execution)
		}
		p.mu.Lock()
		last := p.last[m.Execution]
		if last > 0 && m.Stored >= last {
			delete(p.last, m.Execution)
		}
		p.mu.Unlock()
		if last > 0 && m.Stored >= last {
			p.traps.reach(pointStored, p.host, m.Execution)
		}
	}
	p.Agent.Deliver(m)
}

// Pull implements client.Peer.
func (p *trapped) Pull(ctx context.Context, credit int64, first bool) ([]wire.Event, error) {
	events, err := p.Agent.Pull(ctx, credit, first)
	for _, e := range events {
		switch e := e.(type) {
		case *wire.Accepted:
			p.traps.reach(pointAccept, p.host, e.Execution)
		case *wire.Finished:
			p.mu.Lock()
			p.last[e.Execution] = e.Seq
			p.mu.Unlock()
		}
	}
	return events, err
}
