package poll

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// Config sets a Server up. Zero values are the defaults.
type Config struct {
	Rate        float64       // polls a second that the schedule admits; 2000
	MinInterval time.Duration // between two polls of a host; 15 s
	MaxInterval time.Duration // that should not be exceeded; 5 min
	BusyWithin  time.Duration // a host with work in hand comes back within; 10 s
	Held        int           // polls held at once; 4096
	MaxWait     time.Duration // that a poll is held, less jitter; 50 s
	Log         *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Rate <= 0 {
		c.Rate = 2000
	}
	if c.MinInterval <= 0 {
		c.MinInterval = 15 * time.Second
	}
	if c.MaxInterval <= 0 {
		c.MaxInterval = 5 * time.Minute
	}
	if c.BusyWithin <= 0 {
		c.BusyWithin = 10 * time.Second
	}
	if c.Held <= 0 {
		c.Held = 4096
	}
	if c.MaxWait <= 0 {
		c.MaxWait = 50 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// soon is when a host may come back that needn't wait for its slot.
const soon = time.Second

// Server answers polls and what belongs to them. Its methods are safe for
// concurrent use, and block as long as their request takes.
type Server struct {
	hub      *session.Hub
	cfg      Config
	schedule *Schedule
	returns  *rate.Limiter // of those that come back soon
	held     atomic.Int64
	count    counters

	mu      sync.Mutex // guards the following
	posting map[queue.HostID]struct{}
}

type counters struct {
	polls, messages, empty, cut, posts atomic.Int64
	problems                           [len(codes)]atomic.Int64
}

// Stats are a server's figures, for metrics. The first group is what is now, the
// second counts since the start.
type Stats struct {
	Held      int           // polls held
	Scheduled int           // hosts with a slot ahead
	LastDue   time.Duration // the last polling host is due in
	// Beyond: LastDue is more than MaxInterval; there are more pollers than the rate
	// can serve in time.
	Beyond bool

	Polls, WithMessages, Empty, Cut int64
	Posts                           int64
	Problems                        map[string]int64 // by code; all codes are present
}

// NewServer makes a server on a hub, which must be running.
func NewServer(hub *session.Hub, cfg Config) *Server {
	cfg = cfg.withDefaults()
	return &Server{
		hub: hub, cfg: cfg,
		schedule: NewSchedule(cfg.Rate, cfg.MinInterval),
		returns:  rate.NewLimiter(rate.Limit(cfg.Rate/4), max(1, int(cfg.Rate/4))),
		posting:  map[queue.HostID]struct{}{},
	}
}

// Stats gives the figures of now.
func (s *Server) Stats() Stats {
	st := Stats{
		Held: int(s.held.Load()), Polls: s.count.polls.Load(), WithMessages: s.count.messages.Load(),
		Empty: s.count.empty.Load(), Cut: s.count.cut.Load(), Posts: s.count.posts.Load(),
		Problems: make(map[string]int64, len(codes)),
	}
	st.Scheduled, st.LastDue = s.schedule.Due(time.Now())
	st.Beyond = st.LastDue > s.cfg.MaxInterval
	for i, c := range codes {
		st.Problems[c] = s.count.problems[i].Load()
	}
	return st
}

// take takes a place for a held poll.
func (s *Server) take() bool {
	if s.held.Add(1) > int64(s.cfg.Held) {
		s.held.Add(-1)
		return false
	}
	return true
}

// roomy tells whether hosts that come back soon would find a place.
func (s *Server) roomy() bool { return s.held.Load() < int64(s.cfg.Held)*3/4 }

// backSoon gives when a host that expects something may come back: soon where there
// is room, else at the slot, or within BusyWithin.
func (s *Server) backSoon(slot time.Time) time.Duration {
	if s.roomy() && s.returns.Allow() {
		return soon
	}
	return min(s.cfg.BusyWithin, remaining(slot))
}

// remaining is the time until a slot, at least a second, so that nobody polls
// in a loop.
func remaining(slot time.Time) time.Duration { return max(time.Until(slot), soon) }

// retryAfter sets the header, in whole seconds, rounded up so that nobody comes
// early.
func retryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((max(d, 0)+time.Second-1)/time.Second), 10))
}

// jitter takes up to a tenth off a wait.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/10+1) }

// overdue is when a host that is told to come back after d is overdue.
func overdue(d time.Duration) time.Duration { return d + d/4 + wire.DeadAfter/2 }

// write answers with the messages that fit one answer, and tells how many did.
func (s *Server) write(w http.ResponseWriter, frame []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(frame)))
	w.WriteHeader(http.StatusOK)
	w.Write(frame) // a cut answer is asked for again
}
