package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// Status is a snapshot of a link, for logs and people.
type Status struct {
	Up        bool      // a session is open
	Transport Transport // in use, or to be tried next
	Gateway   string
	Session   int64
	Since     time.Time // of Up, or of its end
	Standby   string    // gateway that a probing socket stands by at; "" = none
	// LastError is why the last connection or attempt ended; "" if none did.
	LastError   string
	LastErrorAt time.Time
	// Next is when the next attempt is due, while not Up.
	Next time.Time
}

// Status gives the present state.
func (l *Link) Status() Status { return l.status.get() }

// statusBoard holds the status, and tells about changes in order.
type statusBoard struct {
	notify func(Status)

	telling sync.Mutex // held over notify, to keep the order; never with mu
	mu      sync.Mutex // guards the following
	s       Status
}

func (b *statusBoard) get() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s
}

func (b *statusBoard) update(change func(*Status)) {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	change(&b.s)
	s := b.s
	b.mu.Unlock()
	if b.notify != nil {
		b.notify(s)
	}
}

// counter is a number that several use. That of the last message is set, not only
// raised: a store that lost recent writes may go back.
type counter struct{ n atomic.Int64 }

func (c *counter) set(n int64) { c.n.Store(n) }
func (c *counter) get() int64  { return c.n.Load() }

// raise sets n if it is larger.
func (c *counter) raise(n int64) {
	for {
		old := c.n.Load()
		if n <= old || c.n.CompareAndSwap(old, n) {
			return
		}
	}
}
