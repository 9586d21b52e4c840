package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// turns has the turns of sessions run, a bounded number at once; the others wait
// in line. A session is in line at most once.
type turns struct {
	work chan *Session // to a worker that waits
	idle atomic.Int64  // workers that wait

	mu   sync.Mutex // guards the following
	free int
	line []*Session
	head int // of line
}

func (t *turns) enqueue(h *Hub, s *Session) {
	t.mu.Lock()
	if t.free == 0 {
		t.line = append(t.line, s)
		t.mu.Unlock()
		return
	}
	t.free--
	t.mu.Unlock()
	t.start(h, s)
}

func (t *turns) enqueueAll(h *Hub, all []*Session) {
	for _, s := range all {
		t.enqueue(h, s)
	}
}

// next gives the place of a turn that is over to the first in line, or frees it.
func (t *turns) next(h *Hub) {
	t.mu.Lock()
	if t.head == len(t.line) {
		t.free++
		t.mu.Unlock()
		return
	}
	s := t.line[t.head]
	t.line[t.head] = nil
	t.head++
	if t.head == len(t.line) {
		t.line, t.head = t.line[:0], 0
		if cap(t.line) > 4096 {
			t.line = nil // after a herd
		}
	}
	t.mu.Unlock()
	t.start(h, s)
}

func (t *turns) waiting() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.line) - t.head
}

// start gives a session to a worker that waits, or to a new one.
func (t *turns) start(h *Hub, s *Session) {
	select {
	case t.work <- s:
	default:
		h.workers.Add(1)
		go h.worker(s)
	}
}

// worker runs turns until there are none for it. Some wait for more, since the stack of a
// goroutine that calls a store grows several times: 6 % of a job's processor time was for
// that when each turn had a goroutine of its own.
func (h *Hub) worker(s *Session) {
	defer h.workers.Done()
	for {
		h.turn(s)
		if h.turns.idle.Add(1) > idleWorkers {
			h.turns.idle.Add(-1)
			return
		}
		select {
		case s = <-h.turns.work:
			h.turns.idle.Add(-1)
		case <-h.over:
			return
		}
	}
}

// deadlines gives store calls their contexts. Calls that begin in the same second have one
// together, which ends a timeout after that second: a context for each, with its timer, was
// 5 % of a job's processor time.
type deadlines struct {
	calls   context.Context
	timeout time.Duration

	mu     sync.Mutex // guards the following
	ctx    context.Context
	cancel context.CancelFunc // not called: the context ends by its timer, or with calls
	until  time.Time          // another follows
}

func (d *deadlines) get() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); d.ctx == nil || now.After(d.until) {
		d.until = now.Add(time.Second)
		d.ctx, d.cancel = context.WithDeadline(d.calls, d.until.Add(d.timeout))
	}
	return d.ctx
}
