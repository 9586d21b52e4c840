package agent

import (
	"context"
	"slices"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

const (
	// pullBytes and pullEvents bound what one Pull gives.
	pullBytes  = 64 << 10
	pullEvents = 256
	// quantum is what one execution gives before the next has its turn, in bytes.
	quantum = 16 << 10
)

// Pull implements client.Peer. Executions take turns, those of the urgent lane first.
func (a *Agent) Pull(ctx context.Context, credit int64, first bool) ([]wire.Event, error) {
	b := budget{credit: credit, first: first}
	a.mu.Lock()
	b.before = a.unacked
	a.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil && len(b.out) == 0 {
			return nil, err
		}
		took := false
		b.tight = false
		for _, e := range a.turns() {
			if b.full() {
				break
			}
			if a.serve(e, &b) {
				took = true
			}
		}
		if len(b.out) > 0 && (!took || b.full()) {
			return b.out, nil
		}
		if took {
			continue
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
		}
	}
}

// budget is what a Pull may give, and what it has taken so far.
type budget struct {
	credit int64
	first  bool
	before int64 // unacknowledged when it began: what is acknowledged since is room too
	out    []wire.Event
	size   int64
	tight  bool // the next event doesn't fit
}

func (b *budget) full() bool { return b.tight || b.size >= pullBytes || len(b.out) >= pullEvents }

// turns gives the executions that have something to send, in the order of their
// turns.
func (a *Agent) turns() []*execution {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	start := slices.Index(a.order, a.lastTurn) + 1
	var urgent, others []*execution
	for i := range a.order {
		e := a.order[(start+i)%len(a.order)]
		switch {
		case !e.ready(now):
		case e.lane == "urgent":
			urgent = append(urgent, e)
		default:
			others = append(others, e)
		}
	}
	return append(urgent, others...)
}

// serve takes one execution's turn. It tells whether anything has changed by it.
func (a *Agent) serve(e *execution, b *budget) bool {
	a.mu.Lock()
	if !e.ready(time.Now()) || a.execs[e.id] != e {
		a.mu.Unlock()
		return false
	}
	src, from := e.source(a.clock.skew()), e.sent+1
	a.mu.Unlock()

	events, err := src.events(from, quantum)

	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.cfg.Log.Error("output can't be read; trying again", "execution", e.id, "seq", from, "err", err)
		e.readAt = time.Now().Add(retryAfter)
		a.armLocked(e.readAt)
	}
	if e.turns != src.turns || e.forget || a.execs[e.id] != e {
		return true // rewound meanwhile
	}
	for _, ev := range events {
		size := wire.EventSize(ev)
		room := b.credit + b.before - a.unacked
		lead := len(b.out) == 0 && (b.first || a.unacked == 0 && b.before > 0)
		if size > room && !lead {
			b.tight = true
			break
		}
		_, seq := ev.Ref()
		if g, ok := ev.(*wire.Gap); ok {
			seq = g.Through
		}
		if seq == 1 && e.asked.IsZero() {
			e.asked = time.Now()
		}
		e.sent, e.unread = seq, false
		e.out = append(e.out, given{seq, size})
		a.unacked += size
		b.out = append(b.out, ev)
		b.size += size
		if b.full() {
			break
		}
	}
	if len(e.out) > 0 && e.stallAt.IsZero() {
		a.expectLocked(e)
	}
	a.lastTurn = e
	return len(b.out) > 0 && len(events) > 0 && !b.tight
}
