package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// pipes is a network in memory, for bubbles of synctest.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	frozen    atomic.Bool // nothing passes any more, and nothing says so
	dials     atomic.Int64
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{listeners: map[string]*pipeListener{}} }

func (p *pipes) listen(addr string) *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	p.listeners[addr] = l
	p.mu.Unlock()
	return l
}

func (p *pipes) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	p.dials.Add(1)
	p.mu.Lock()
	l := p.listeners[addr]
	p.mu.Unlock()
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return &freezable{Conn: near, p: p}, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// freezable is a connection that can go dead without a sign.
type freezable struct {
	net.Conn
	p *pipes
}

func (c *freezable) Write(b []byte) (int, error) {
	if c.p.frozen.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *freezable) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.p.frozen.Load() {
			return n, err
		}
	}
}
