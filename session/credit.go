package session

import (
	"sync/atomic"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// pool is what sessions are lent beyond their idle credit, all together.
type pool struct{ free atomic.Int64 }

func (p *pool) lend(n int64) bool {
	for {
		free := p.free.Load()
		if free < n {
			return false
		}
		if p.free.CompareAndSwap(free, free-n) {
			return true
		}
	}
}

func (p *pool) giveBack(n int64) { p.free.Add(n) }

// creditWindow is within how much time a session has to use three quarters of its
// credit to be given more: with less, it doesn't wait for its acks for long.
const creditWindow = time.Second

// raise counts bytes of events, and gives a session that has much to send four
// times its credit, if the pool has it. It tells how much the session has then; 0 =
// not raised. What it was lent before and was told to give back, it may use again
// without asking.
func (s *Session) raise(bytes int64) int64 {
	now := s.hub.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now-s.window > creditWindow.Milliseconds() {
		s.window, s.used = now, 0
	}
	s.used += bytes
	if s.gone || s.used < s.granted*3/4 || s.granted >= s.hub.cfg.MaxCredit {
		return 0
	}
	want := min(s.granted*4, s.hub.cfg.MaxCredit)
	if want > s.limit {
		if !s.hub.credit.lend(want - s.limit) {
			return 0
		}
		s.limit = want
	}
	s.granted, s.lower, s.used = want, false, 0
	return want
}

// checkCredit takes back what a session doesn't need. It is first told, and may
// still send on its old credit while the message is on its way; a connection on
// which it takes longer than Dead is closed anyway. s.mu is held; it tells whether a turn is needed.
func (s *Session) checkCredit(now int64) bool {
	switch {
	case s.limit == wire.IdleCredit || s.gone:
	case s.granted > wire.IdleCredit:
		if now-s.events >= creditIdle.Milliseconds() && s.onWay == 0 && !s.lower {
			s.lower = true
			return true
		}
	case now-s.lowered >= s.hub.cfg.Dead.Milliseconds() && s.onWay == 0:
		s.hub.credit.giveBack(s.limit - wire.IdleCredit)
		s.limit = wire.IdleCredit
	}
	return false
}
