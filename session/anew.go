package session

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// A store that fails over may have lost the last that it acknowledged, while sessions stayed up and agents settled
// what they had heard to be stored. Only a hello compares both sides. So where the way to the store has
// broken, the sessions with which anything happened lately are begun anew.

const (
	// lately is how far back a failover may reach.
	lately = time.Minute
	// anewAtOnce are begun anew before a pause of anewPause: 5,000 a second.
	anewAtOnce = 50
	anewPause  = 10 * time.Millisecond
)

// beginAnew waits for the way to the store to have broken and to be there again, until ctx ends.
func (h *Hub) beginAnew(ctx context.Context) {
	for {
		select {
		case <-h.anew:
		case <-ctx.Done():
			return
		}
		since := h.now() - lately.Milliseconds()
		n := 0
		pace := func() bool {
			n++
			return n%anewAtOnce != 0 || sleep(ctx, anewPause)
		}
		for _, s := range h.snapshot() {
			s.mu.Lock()
			recent := s.active && s.moved >= since
			s.mu.Unlock()
			if !recent {
				continue
			}
			// Soon: not by a backoff that is for gateways in trouble.
			s.End(wire.CloseHello, wire.CloseReason(time.Second+rand.N(2*time.Second), "the store may have gone back; say hello"))
			if !pace() {
				return
			}
		}
		for id, session := range h.known.since(since) {
			h.endPoll(ctx, id, session)
			if !pace() {
				return
			}
		}
		if n > 0 {
			h.cfg.Log.Info("the way to the store had broken; sessions with recent events are begun anew", "sessions", n)
		}
	}
}

// endPoll ends a session over requests: the next one is told to say hello.
func (h *Hub) endPoll(ctx context.Context, id queue.HostID, session int64) {
	call, cancel := h.request(ctx)
	defer cancel()
	if err := h.store.Release(call, id, session); err != nil && ctx.Err() == nil {
		h.cfg.Log.Warn("a session can't be begun anew", "host", id, "session", session, "err", err)
		return
	}
	h.hint(id)
}

// happened notes that the store and the host have something new in common.
func (s *Session) happened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = s.hub.now()
}
