package session

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Pace of retries while the store is away.
const (
	parkMin = 100 * time.Millisecond
	parkMax = 5 * time.Second
)

// parking keeps the sessions whose turns the store didn't take. They are tried
// again a few at a time: more and faster while that succeeds, one and slower while
// it doesn't. A store of which a part is away thus costs its other hosts nothing. Who
// goes without having been welcomed leaves the line at once: hosts that come, wait and give up
// would else fill it for as long as the store is away.
type parking struct {
	some chan struct{} // has a value when there may be sessions

	mu    sync.Mutex // guards the following, and Session.spot
	line  []*Session
	taken int   // ever, from the front of the line
	total int64 // ever parked
	away  bool  // the store was last seen away
}

// add puts a session in line, and tells whether the store had been there until now.
func (p *parking) add(s *Session) (first bool) {
	p.mu.Lock()
	p.line = append(p.line, s)
	s.spot = p.taken + len(p.line)
	p.total++
	first = !p.away
	p.away = true
	p.mu.Unlock()
	select {
	case p.some <- struct{}{}:
	default:
	}
	return first
}

// remove takes a session out of the line, and tells whether it was there. Then the caller has
// its turn. The last in line gets its spot.
func (p *parking) remove(s *Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.spot == 0 {
		return false
	}
	last := len(p.line) - 1
	moved := p.line[last]
	p.line[s.spot-p.taken-1], moved.spot = moved, s.spot
	p.line[last], p.line = nil, p.line[:last]
	s.spot = 0
	return true
}

// take gives up to n sessions, all if n < 0.
func (p *parking) take(n int) []*Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < 0 || n > len(p.line) {
		n = len(p.line)
	}
	all := slices.Clone(p.line[:n])
	for i, s := range all {
		s.spot, p.line[i] = 0, nil
	}
	p.line = p.line[n:]
	p.taken += n
	if len(p.line) == 0 {
		p.line = nil
	}
	return all
}

func (p *parking) figures() (waiting int, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line), p.total
}

// back notes that nothing is parked any more.
func (p *parking) back(h *Hub) {
	p.mu.Lock()
	back := p.away && len(p.line) == 0
	if back {
		p.away = false
	}
	p.mu.Unlock()
	if back {
		h.cfg.Log.Info("no session waits for the store any more")
	}
}

// retryParked runs until ctx ends, which is after the last session has: once
// calls of the store are given up, it only lets sessions go.
func (h *Hub) retryParked(ctx context.Context) {
	wait, n := parkMin, 8
	for {
		if waiting, _ := h.parked.figures(); waiting == 0 {
			h.parked.back(h)
			wait, n = parkMin, 8
			select {
			case <-ctx.Done():
				return
			case <-h.parked.some:
			}
		}
		if h.calls.Err() != nil {
			h.turns.enqueueAll(h, h.parked.take(-1))
			continue
		}
		sleep(h.calls, wait/2+rand.N(wait/2))
		_, before := h.parked.figures()
		batch := h.parked.take(n)
		h.turns.enqueueAll(h, batch)
		sleep(h.calls, parkMin/2)
		if _, total := h.parked.figures(); total-before >= int64(len(batch)) {
			wait, n = min(wait*2, parkMax), 1
		} else {
			wait, n = parkMin, min(n*2, h.cfg.Turns)
		}
	}
}

// sleep waits for d, and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
