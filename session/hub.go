package session

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Conn is a connection that carries a session; a transport implements it.
type Conn interface {
	// Write sends a frame, and blocks until the connection has taken it or a
	// deadline passed. It is called by one goroutine at a time. After
	// an error the connection is useless; ErrSlow says that the peer didn't read.
	Write(frame []byte) error
	// Close says why, and closes. It may block for some seconds, and be
	// called while a Write blocks, and again.
	Close(code wire.CloseCode, reason string)
}

// ErrSlow is the error of a Write that took too long.
var ErrSlow = errors.New("the peer does not read")

// Errors of Attach: refuse the connection with 503 and Retry-After.
var (
	ErrDraining = errors.New("this gateway is going; come back to another")
	ErrFull     = errors.New("this gateway holds as many sessions as it may")
)

// Hub holds the sessions of one gateway. Its methods are safe for concurrent
// use; they need Run to be running.
type Hub struct {
	store Store
	cfg   Config
	start time.Time

	jobs    *cache[queue.JobID, *queue.Job]
	scripts *cache[queue.JobID, []byte]
	known   generations

	readers sync.Pool // of *frameReader
	frames  chan undecoded
	over    chan struct{} // closed when nothing is decoded any more
	turns   turns
	writing chan struct{} // a token per turn that writes
	parked  parking
	credit  pool
	ready   chan struct{} // has a value when the ready set is to be read now
	anew    chan struct{} // the way to the store had broken: see beginAnew
	count   counters

	// calls is the context of store calls; it outlives Run's by stopWithin.
	calls     context.Context
	stop      context.CancelFunc
	deadlines deadlines      // of the calls of turns
	wg        sync.WaitGroup // attached sessions until their last turn, and closings
	workers   sync.WaitGroup // what runs turns

	mu       sync.Mutex // guards the following, and the fields of Session that say so
	hosts    map[queue.HostID]*host
	attached []*Session // in no order
	held     int        // sessions that are attached, or that have gone and not had their last turn
	watches  int
	draining bool
	within   time.Duration // of the drain
	empty    chan struct{} // closed when draining and the last has gone
}

// host is what a gateway holds of one host.
type host struct {
	first *Session // a chain of all its attachments
	owner *Session // the one that delivers, if any
	watch *Watch   // the held poll, if any
}

// NewHub makes a hub; Run makes it work.
func NewHub(store Store, cfg Config) *Hub {
	cfg = cfg.withDefaults()
	h := &Hub{
		store: store, cfg: cfg, start: time.Now(),
		writing: make(chan struct{}, cfg.Writes),
		hosts:   map[queue.HostID]*host{},
		empty:   make(chan struct{}),
		frames:  make(chan undecoded),
		over:    make(chan struct{}),
		ready:   make(chan struct{}, 1),
		anew:    make(chan struct{}, 1),
	}
	h.calls, h.stop = context.WithCancel(context.Background())
	h.deadlines = deadlines{calls: h.calls, timeout: cfg.StoreTimeout}
	h.turns.free, h.turns.work = cfg.Turns, make(chan *Session)
	h.readers.New = func() any { return new(frameReader) }
	h.parked.some = make(chan struct{}, 1)
	h.credit.free.Store(cfg.CreditPool)
	h.jobs = newCache(cfg.CacheBytes/4, jobSize, func(id queue.JobID) (*queue.Job, error) {
		j, err := store.Job(h.deadlines.get(), id)
		return &j.Job, err
	})
	h.scripts = newCache(cfg.CacheBytes, scriptSize, func(id queue.JobID) ([]byte, error) {
		return store.Script(h.deadlines.get(), id)
	})
	return h
}

func jobSize(j *queue.Job) int64 {
	n := int64(1024)
	for k, v := range j.Spec.Env {
		n += int64(len(k) + len(v) + 64)
	}
	return n
}

func scriptSize(b []byte) int64 { return int64(len(b)) }

// now is the time since the hub was made, in milliseconds.
func (h *Hub) now() int64 { return time.Since(h.start).Milliseconds() }

// Run subscribes to hints, keeps the gateway alive in the store, and works until
// ctx ends. Then it closes what is still attached, and returns nil when all that
// it or the hub started has ended. Run it once.
func (h *Hub) Run(ctx context.Context) error {
	var decoders sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoders.Go(h.decodeFrames)
	}
	defer decoders.Wait()
	defer h.workers.Wait()
	defer close(h.over)
	var loops sync.WaitGroup
	loops.Go(func() { h.subscribe(ctx) })
	loops.Go(func() { h.readReady(ctx) })
	loops.Go(func() { h.beginAnew(ctx) })
	loops.Go(func() { h.stayAlive(ctx) })
	loops.Go(func() { h.sweep(ctx) })
	parked, unpark := context.WithCancel(context.WithoutCancel(ctx))
	var retries sync.WaitGroup
	retries.Go(func() { h.retryParked(parked) })
	defer retries.Wait()
	defer unpark()
	<-ctx.Done()
	loops.Wait()

	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	giveUp := time.AfterFunc(stopWithin, h.stop)
	defer giveUp.Stop()
	defer h.stop()
	for _, s := range h.snapshot() {
		s.End(wire.CloseDrain, "the gateway stops")
	}
	h.wakeWatches()
	h.wg.Wait()
	return nil
}

// Attach makes conn a connection of a host. The caller then feeds what it reads to
// Receive and Seen until Receive says no or the connection ends, and calls Detach.
// Errors: ErrDraining, ErrFull.
func (h *Hub) Attach(peer Peer, conn Conn) (*Session, error) {
	s := &Session{hub: h, conn: conn, peer: peer.Host, incarnation: peer.Incarnation}
	if !peer.Expires.IsZero() {
		s.expires = peer.Expires.UnixMilli()
	}
	s.limit, s.granted = wire.IdleCredit, wire.IdleCredit
	s.Seen()
	s.since = s.seen.Load()

	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		return nil, ErrDraining
	}
	if len(h.attached) >= h.cfg.MaxSessions || h.held >= 2*h.cfg.MaxSessions {
		h.mu.Unlock()
		return nil, ErrFull
	}
	at := h.hosts[peer.Host]
	if at == nil {
		at = &host{}
		h.hosts[peer.Host] = at
	}
	s.sibling, at.first = at.first, s
	h.attached = append(h.attached, s)
	s.place = len(h.attached)
	surplus := at.surplus()
	h.held++
	h.wg.Add(1)
	h.mu.Unlock()
	h.count.attached.Add(1)
	if surplus != nil {
		surplus.End(wire.CloseSuperseded, "more connections than a host may have")
	}
	return s, nil
}

// surplus gives the oldest connection that doesn't deliver, if there are too
// many. Hub.mu is held.
func (at *host) surplus() *Session {
	n := 0
	var oldest *Session
	for s := at.first; s != nil; s = s.sibling {
		n++
		if s != at.owner {
			oldest = s
		}
	}
	if n <= maxPerHost {
		return nil
	}
	return oldest
}

// detach takes s off the books, and tells whether it had claimed its host.
func (h *Hub) detach(s *Session) (claimed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	claimed = s.epoch != 0
	if s.place == 0 {
		return claimed
	}
	last := len(h.attached) - 1
	moved := h.attached[last]
	h.attached[s.place-1], moved.place = moved, s.place
	h.attached[last] = nil
	h.attached = h.attached[:last]
	s.place = 0
	at := h.hosts[s.peer]
	for p := &at.first; *p != nil; p = &(*p).sibling {
		if *p == s {
			*p = s.sibling
			break
		}
	}
	s.sibling = nil
	if at.owner == s {
		at.owner = nil
	}
	h.tidy(s.peer, at)
	if h.draining && len(h.attached) == 0 {
		h.closeEmpty()
	}
	return claimed
}

func (h *Hub) tidy(id queue.HostID, at *host) {
	if at.first == nil && at.watch == nil {
		delete(h.hosts, id)
	}
}

func (h *Hub) closeEmpty() {
	select {
	case <-h.empty:
	default:
		close(h.empty)
	}
}

// own makes s, which holds the host's session at this epoch, the one that delivers here, unless a
// newer one does. s nil = a poll holds it.
func (h *Hub) own(id queue.HostID, s *Session, epoch int64) {
	var old *Session
	h.mu.Lock()
	at := h.hosts[id]
	switch {
	case at == nil, s != nil && s.place == 0:
	case at.owner != nil && at.owner != s && at.owner.epoch > epoch:
		old = s
	default:
		if at.owner != s {
			old = at.owner
		}
		at.owner = s
		if w := at.watch; w != nil && s != nil {
			w.wake() // its session is superseded
		}
	}
	if s != nil {
		s.epoch = epoch
	}
	h.mu.Unlock()
	if old != nil {
		old.End(wire.CloseSuperseded, "a newer connection of this host took over")
	}
}

// hint makes the hosts' sessions and polls look for work.
func (h *Hub) hint(id queue.HostID) {
	h.mu.Lock()
	var s *Session
	if at := h.hosts[id]; at != nil {
		s = at.owner
		if at.watch != nil {
			at.watch.wake()
		}
	}
	h.mu.Unlock()
	if s != nil {
		s.lookForWork()
	}
}

// Kick closes a host's connections, and makes its held poll ask the store
// again. It doesn't block.
func (h *Hub) Kick(id queue.HostID, code wire.CloseCode, reason string) {
	h.mu.Lock()
	var all []*Session
	if at := h.hosts[id]; at != nil {
		for s := at.first; s != nil; s = s.sibling {
			all = append(all, s)
		}
		if at.watch != nil {
			at.watch.wake()
		}
	}
	h.mu.Unlock()
	for _, s := range all {
		s.End(code, reason)
	}
}

// snapshot gives all attached sessions.
func (h *Hub) snapshot() []*Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.attached)
}

// some gives a part of the attached sessions, as many as into has room for, from before a
// place down to another, where to go on. From math.MaxInt down to 0, nobody is left out
// who stays attached: who detaches gives its place to the last.
func (h *Hub) some(into []*Session, before int) (part []*Session, rest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before = min(before, len(h.attached))
	rest = max(0, before-len(into))
	return into[:copy(into, h.attached[rest:before])], rest
}
