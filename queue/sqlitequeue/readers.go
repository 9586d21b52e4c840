package sqlitequeue

import (
	"context"
	"errors"
	"sync"

	"zombiezen.com/go/sqlite"
)

// readers is the pool of connections for reads: opened when needed, the last
// used first.
type readers struct {
	open  func() (*sqlite.Conn, error)
	slots chan struct{} // one for each connection in use

	mu   sync.Mutex // guards free
	free []*sqlite.Conn
}

// take gives a connection, waiting for one until ctx ends.
func (r *readers) take(ctx context.Context) (*sqlite.Conn, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := r.pop(); c != nil {
		return c, nil
	}
	c, err := r.open()
	if err != nil {
		<-r.slots
	}
	return c, err
}

func (r *readers) pop() *sqlite.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) == 0 {
		return nil
	}
	c := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return c
}

// put gives a connection back. After an error that may be the connection's own it is
// closed instead.
func (r *readers) put(c *sqlite.Conn, err error) error {
	defer func() { <-r.slots }()
	if broken(err) {
		return c.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free = append(r.free, c)
	return nil
}

// close closes the connections, none of which may be in use.
func (r *readers) close() error {
	var errs []error
	for c := r.pop(); c != nil; c = r.pop() {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
