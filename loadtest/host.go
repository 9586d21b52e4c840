package loadtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/session/wire"
)

// host is one simulated host: a link and an agent, with an eye on what passes between them.
type host struct {
	fleet *fleet
	agent *agent.Agent
	link  *client.Link

	mu     sync.Mutex        // guards the following
	inHand map[string]*trace // by execution; nil = none
	up     client.Transport  // of the session that is open; "" = none
}

// trace is when an execution reached each step, by the fleet's clock, as Unix nanoseconds; 0 = not yet.
type trace struct {
	Execution string
	At        [steps]int64
	last      int64 // number of its last event; 0 = not known yet
}

// The steps of a trace, in the order of report's.
const (
	leased = iota
	accepted
	started
	finished
	stored
	steps
)

// newHost makes the host with a number. It writes its journal, and connects to nothing.
func newHost(f *fleet, i int) (*host, error) {
	h := &host{fleet: f}
	id := f.order.Identity.Host(i)
	dir := f.dir(i)
	if !f.order.Volatile || f.order.Real {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	cfg := client.Config{
		Identity: client.NewIdentity(id, f.order.Identity.Key(i)), Mode: f.modes[i],
		OnStatus: h.status, Observer: &f.observer, Timing: f.timing(),
	}
	var err error
	if f.modes[i] == client.ModeSocket {
		cfg.Ways, err = f.net.shared(i)
	} else { // a host's polls have connections of their own
		cfg.Gateways, cfg.Network = f.net.gateways(i), f.net.network(i)
	}
	if err != nil {
		return nil, err
	}
	if h.link, err = client.NewLink(cfg); err != nil {
		return nil, err
	}
	h.agent, err = agent.New(agent.Config{
		Dir: dir, Runner: f.runner, Fetch: h.link.Script, Policy: f.policy, Version: f.order.Version, BootID: f.boot,
		Facts: f.facts, Volatile: f.order.Volatile && !f.order.Real,
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", id, err)
	}
	return h, nil
}

// run keeps the host connected until ctx ends.
func (h *host) run(ctx context.Context) {
	if err := h.link.Run(ctx, peer{h.agent, h}); err != nil {
		h.fleet.errors.add("ended for good", err)
	}
	h.setUp("")
}

// status follows the link. It is called by one goroutine at a time.
func (h *host) status(s client.Status) {
	if s.Up {
		h.setUp(s.Transport)
	} else {
		h.setUp("")
	}
}

func (h *host) setUp(tr client.Transport) {
	h.mu.Lock()
	before := h.up
	h.up = tr
	h.mu.Unlock()
	if before != tr {
		h.fleet.moved(before, tr)
	}
}

// peer is the agent, watched.
type peer struct {
	*agent.Agent
	h *host
}

// Deliver implements client.Peer.
func (p peer) Deliver(m wire.Message) {
	switch m := m.(type) {
	case *wire.Job:
		p.h.arrived(m.Execution)
	case *wire.Ack:
		p.h.stored(m.Execution, m.Stored)
	case *wire.Welcome:
		for _, x := range m.Executions {
			p.h.stored(x.Execution, x.Stored)
		}
	}
	p.Agent.Deliver(m)
}

// Pull implements client.Peer.
func (p peer) Pull(ctx context.Context, credit int64, first bool) ([]wire.Event, error) {
	events, err := p.Agent.Pull(ctx, credit, first)
	p.h.sent(events)
	return events, err
}

func (h *host) arrived(execution string) {
	now := time.Now().UnixNano()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inHand[execution] != nil {
		return
	}
	if h.inHand == nil {
		h.inHand = map[string]*trace{}
	}
	t := &trace{Execution: execution}
	h.inHand[execution] = t
	h.reachLocked(t, leased, now)
}

// reachLocked notes that a step was reached, for the first time.
func (h *host) reachLocked(t *trace, step int, now int64) {
	if t.At[step] == 0 {
		t.At[step] = now
		h.fleet.reached[step].Add(1)
	}
}

func (h *host) sent(events []wire.Event) {
	if len(events) == 0 {
		return
	}
	now := time.Now().UnixNano()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		id, seq := e.Ref()
		t := h.inHand[id]
		if t == nil {
			continue
		}
		switch e.(type) {
		case *wire.Accepted:
			h.reachLocked(t, accepted, now)
		case *wire.Started:
			h.reachLocked(t, started, now)
		case *wire.Finished:
			h.reachLocked(t, finished, now)
			t.last = seq
		case *wire.Rejected: // it was never started
			t.last = seq
		}
	}
}

func (h *host) stored(execution string, seq int64) {
	h.mu.Lock()
	t := h.inHand[execution]
	if t == nil || t.last == 0 || seq < t.last {
		h.mu.Unlock()
		return
	}
	now := time.Now().UnixNano()
	if t.At[finished] != 0 {
		h.reachLocked(t, stored, now)
	}
	delete(h.inHand, execution)
	if len(h.inHand) == 0 {
		h.inHand = nil
	}
	h.mu.Unlock()
	h.fleet.done(t)
}
