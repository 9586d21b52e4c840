package poll

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rexgate/rexgate/queue"
)

// Schedule hands out the times of polls. It is safe for concurrent use.
type Schedule struct {
	min time.Duration

	mu    sync.Mutex // guards the following
	rate  *rate.Limiter
	slots map[queue.HostID]time.Time
	line  []slot // what is in slots, by time; and what was
	last  time.Time
}

type slot struct {
	host queue.HostID
	at   time.Time
}

// NewSchedule makes a schedule of so many polls a second, with at least min
// between two of a host.
func NewSchedule(perSecond float64, min time.Duration) *Schedule {
	return &Schedule{min: min, rate: rate.NewLimiter(rate.Limit(perSecond), 1), slots: map[queue.HostID]time.Time{}}
}

// Next gives the slot of the poll after the one that came at now: the one that
// the host has, if its time hasn't come, else a new one.
func (s *Schedule) Next(host queue.HostID, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if at, ok := s.slots[host]; ok {
		return at
	}
	at := now.Add(s.min)
	if s.last.Sub(at) > 0 { // calls may come out of order by a little
		at = s.last
	}
	at = at.Add(s.rate.ReserveN(at, 1).DelayFrom(at))
	s.last = at
	s.slots[host] = at
	s.line = append(s.line, slot{host, at})
	return at
}

// forget drops the slots whose time has come.
func (s *Schedule) forget(now time.Time) {
	n := 0
	for n < len(s.line) && !s.line[n].at.After(now) {
		delete(s.slots, s.line[n].host)
		n++
	}
	if s.line = s.line[n:]; len(s.line) == 0 {
		s.line = nil
	}
}

// Due tells how many hosts have a slot ahead, and when the last of them is.
func (s *Schedule) Due(now time.Time) (hosts int, last time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(now)
	if len(s.line) == 0 {
		return 0, 0
	}
	return len(s.line), s.last.Sub(now)
}
