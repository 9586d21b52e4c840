package session

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// subscribe keeps a subscription to hints until ctx ends.
func (h *Hub) subscribe(ctx context.Context) {
	const first, last = 100 * time.Millisecond, 5 * time.Second
	wait := first
	again := false
	for {
		begun := time.Now()
		err := h.store.Subscribe(ctx, h.cfg.Gateway, func(hint queue.Hint) {
			h.count.hints.Add(int64(len(hint.Hosts)))
			if len(hint.Hosts) == 0 {
				h.askReady()
				if hint.Again || again {
					h.askAnew()
				}
				again = false
			}
			for _, id := range hint.Hosts {
				h.hint(id)
			}
		})
		if ctx.Err() != nil {
			return
		}
		again = true
		h.cfg.Log.Warn("subscription to hints ended", "err", err)
		if time.Since(begun) > time.Minute {
			wait = first
		}
		if !sleep(ctx, wait/2+rand.N(wait/2)) {
			return
		}
		wait = min(wait*2, last)
	}
}

// askReady makes readReady read now.
func (h *Hub) askReady() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

// askAnew makes beginAnew begin.
func (h *Hub) askAnew() {
	select {
	case h.anew <- struct{}{}:
	default:
	}
}

// readReady reads the ready set every ReadyEvery to twice that, and when asked
// to: it is the truth behind the hints.
func (h *Hub) readReady(ctx context.Context) {
	failed := false
	for {
		t := time.NewTimer(h.cfg.ReadyEvery + rand.N(h.cfg.ReadyEvery))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-h.ready:
		case <-t.C:
		}
		t.Stop()
		call, cancel := context.WithTimeout(ctx, h.cfg.StoreTimeout)
		hosts, err := h.store.Ready(call, h.cfg.Gateway, readyLimit)
		cancel()
		if err != nil && ctx.Err() == nil && !failed {
			h.cfg.Log.Warn("ready set can't be read", "err", err)
		}
		failed = err != nil
		for _, id := range hosts {
			h.hint(id)
		}
	}
}

// stayAlive tells the store that this gateway lives.
func (h *Hub) stayAlive(ctx context.Context) {
	failed := false
	for {
		call, cancel := context.WithTimeout(ctx, h.cfg.StoreTimeout)
		err := h.store.Alive(call, h.cfg.Gateway, h.cfg.AliveTTL)
		cancel()
		if err != nil && ctx.Err() == nil && !failed {
			h.cfg.Log.Warn("store can't be told that this gateway lives", "err", err)
		}
		failed = err != nil
		wait := h.cfg.AliveTTL / 3
		if failed {
			wait /= 5
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// sweep closes the silent and the expired, takes back credit, and has sessions
// look for work that haven't for long.
func (h *Hub) sweep(ctx context.Context) {
	var into [sweepPart]*Session
	last := h.now()
	for sleep(ctx, sweepEvery) {
		now := h.now()
		// Where this process stood still, the hosts' signs wait to be read.
		paused := now-last > 3*sweepEvery.Milliseconds()
		last = now
		if paused {
			continue
		}
		wall := time.Now().UnixMilli()
		for rest := math.MaxInt; rest > 0; {
			var part []*Session
			part, rest = h.some(into[:], rest)
			for _, s := range part {
				h.check(s, now, wall)
			}
		}
		clear(into[:]) // of those who go
	}
}

func (h *Hub) check(s *Session, now, wall int64) {
	s.mu.Lock()
	said := s.said
	want := s.checkCredit(now)
	if s.active && !s.ending && now-s.looked >= h.cfg.LookEvery.Milliseconds() {
		s.look, s.looked, want = true, now, true
	}
	due := want && s.due()
	s.mu.Unlock()
	if due {
		h.turns.enqueue(h, s)
	}
	switch {
	case now-s.seen.Load() >= h.cfg.Dead.Milliseconds():
		s.End(wire.CloseSilent, "nothing heard for "+h.cfg.Dead.String())
	case !said && now-s.since >= helloWithin.Milliseconds():
		s.End(wire.CloseSilent, "no hello within "+helloWithin.String())
	case s.expires > 0 && wall >= s.expires:
		s.End(wire.CloseExpired, "the token expired; come back with a fresh one")
	}
}

// Draining tells whether sessions are being sent away.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// ComeBack gives a time after which a host may come back to a gateway that
// drains: hosts are spread over the drain.
func (h *Hub) ComeBack() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Second + rand.N(h.within+time.Second)
}

// Drain tells all sessions to come back to some gateway, each at a moment of its
// choice within the given time, and refuses new ones. Those that are still there
// some seconds after that time are closed. It returns when the last has gone or ctx ends.
// Held polls are ended at once; the hub goes on serving requests.
func (h *Hub) Drain(ctx context.Context, within time.Duration) {
	h.mu.Lock()
	h.draining, h.within = true, within
	if len(h.attached) == 0 {
		h.closeEmpty()
	}
	h.mu.Unlock()
	h.wakeWatches()
	for _, s := range h.snapshot() {
		s.mu.Lock()
		s.drain = max(within.Milliseconds(), 1)
		due := s.due()
		s.mu.Unlock()
		if due {
			h.turns.enqueue(h, s)
		}
	}
	late := time.NewTimer(within + stopWithin)
	defer late.Stop()
	for {
		select {
		case <-h.empty:
			return
		case <-ctx.Done():
			return
		case <-late.C:
			for _, s := range h.snapshot() {
				s.End(wire.CloseDrain, wire.CloseReason(time.Second+rand.N(within+time.Second), "the gateway is going"))
			}
		}
	}
}
