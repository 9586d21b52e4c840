package faults

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// relay passes connections on to one address, and can do to them what networks do.
type relay struct {
	name  string
	ln    net.Listener
	hints bool // the connections are Redis': hints may be lost, doubled and late

	wg    sync.WaitGroup
	delay atomic.Int64 // nanoseconds before each piece that is passed on
	rule  atomic.Int32 // a hintRule

	mu     sync.Mutex // guards the following
	target string
	pairs  map[*pair]bool
	closed bool
	refuse bool // new connections are cut at once
}

// pair is one connection, on both sides.
type pair struct {
	relay        *relay
	down, up     net.Conn // of who called, of the target
	frozen       [2]atomic.Bool
	thaw         chan struct{} // closed when the pair is cut
	cutAfter     atomic.Int64  // bytes downwards until it is cut; 0 = not at all
	subscription atomic.Bool
	once         sync.Once
}

// The directions of a pair.
const (
	downwards = 0 // to who called
	upwards   = 1
)

// hintRule is what becomes of hints.
type hintRule int32

const (
	hintsPass hintRule = iota
	hintsLost
	hintsTwice
	hintsLate
)

// hintDelay is how late a late hint is.
const hintDelay = 300 * time.Millisecond

func newRelay(name, target string, hints bool) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{name: name, target: target, ln: ln, hints: hints, pairs: map[*pair]bool{}}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.ln.Addr().String() }

// aim has new connections go to another address.
func (r *relay) aim(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

func (r *relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(c) })
	}
}

func (r *relay) serve(c net.Conn) {
	r.mu.Lock()
	target, refuse := r.target, r.closed || r.refuse
	r.mu.Unlock()
	if refuse {
		reset(c)
		return
	}
	up, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		reset(c)
		return
	}
	p := &pair{relay: r, down: c, up: up, thaw: make(chan struct{})}
	r.mu.Lock()
	if r.closed || r.refuse {
		r.mu.Unlock()
		p.cut()
		return
	}
	r.pairs[p] = true
	r.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(up, c, downwards) })
	both.Go(func() { p.pass(c, up, upwards) })
	both.Wait()
	p.cut()
	r.mu.Lock()
	delete(r.pairs, p)
	r.mu.Unlock()
}

// reset closes a connection as a crash or a firewall does.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // it is closed all the same
	}
	c.Close()
}

func (p *pair) cut() {
	p.once.Do(func() {
		close(p.thaw)
		reset(p.down)
		reset(p.up)
	})
}

// pass copies one direction till it ends. A clean end is passed on as one.
func (p *pair) pass(from, to net.Conn, dir int) {
	r := bufio.NewReaderSize(from, 32<<10)
	for {
		b, err := p.next(r, dir)
		if len(b) > 0 && !p.write(to, b, dir) {
			p.cut()
			return
		}
		if err != nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				tcp.CloseWrite() //nolint:errcheck // it may be gone
			}
			return
		}
	}
}

// next reads a piece: what has come, or one reply of Redis where hints pass.
func (p *pair) next(r *bufio.Reader, dir int) ([]byte, error) {
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	if p.subscription.Load() && dir == downwards {
		return readFrame(r, nil, 0)
	}
	b, _ := r.Peek(r.Buffered())
	if p.relay.hints && dir == upwards && !p.subscription.Load() && bytes.Contains(bytes.ToLower(b), []byte("ssubscribe")) {
		p.subscription.Store(true) // before the answer can come
	}
	piece := bytes.Clone(b)
	r.Discard(len(b)) //nolint:errcheck // it is buffered
	return piece, nil
}

// write passes a piece on, late if that is the rule. It is false when the connection is over.
func (p *pair) write(to net.Conn, b []byte, dir int) bool {
	if p.frozen[dir].Load() {
		<-p.thaw // what was sent is never seen
		return false
	}
	if d := p.relay.delay.Load(); d > 0 && !p.pause(time.Duration(d)) {
		return false
	}
	times := 1
	if p.subscription.Load() && dir == downwards && isHint(b) {
		switch hintRule(p.relay.rule.Load()) {
		case hintsLost:
			times = 0
		case hintsTwice:
			times = 2
		case hintsLate:
			if !p.pause(hintDelay) {
				return false
			}
		}
	}
	if left := p.cutAfter.Load(); left > 0 && dir == downwards {
		if int64(len(b)) >= left {
			to.Write(b[:left]) //nolint:errcheck // it is cut
			return false
		}
		p.cutAfter.Store(left - int64(len(b)))
	}
	for range times {
		if _, err := to.Write(b); err != nil {
			return false
		}
	}
	return true
}

func (p *pair) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.thaw:
		return false
	}
}

// each does something to all connections that there are.
func (r *relay) each(f func(*pair)) {
	r.mu.Lock()
	pairs := make([]*pair, 0, len(r.pairs))
	for p := range r.pairs {
		pairs = append(pairs, p)
	}
	r.mu.Unlock()
	for _, p := range pairs {
		f(p)
	}
}

// cut resets all connections; with refuse, new ones too until it is called again without.
func (r *relay) cut(refuse bool) {
	r.mu.Lock()
	r.refuse = refuse
	r.mu.Unlock()
	r.each((*pair).cut)
}

// cutAfter cuts each connection in the middle of what comes downwards.
func (r *relay) cutAfter(bytes int64) { r.each(func(p *pair) { p.cutAfter.Store(bytes) }) }

// freeze makes all connections half-open: nothing passes any more in the directions, nor does either side hear of it.
// The function that it gives cuts them.
func (r *relay) freeze(dirs ...int) (cut func()) {
	var frozen []*pair
	r.each(func(p *pair) {
		frozen = append(frozen, p)
		for _, d := range dirs {
			p.frozen[d].Store(true)
		}
	})
	return func() {
		for _, p := range frozen {
			p.cut()
		}
	}
}

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.ln.Close()
	r.each((*pair).cut)
	r.wg.Wait()
}
