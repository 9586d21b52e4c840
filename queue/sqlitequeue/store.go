package sqlitequeue

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Options says which file to open and how.
type Options struct {
	// Path of the database file; it is created if it isn't there, its directory
	// isn't. Beside it lie Path-wal, Path-shm and Path-lock.
	Path string
	// MaxBytes bounds the file: submits give Full above 80 % of it, so that results
	// still fit, and nothing is stored beyond it (or 16 MiB, if that is more). The
	// write-ahead log comes on top, usually up to 64 MiB. 0 = not bounded.
	MaxBytes int64
	// Readers is the number of connections for reads; 0 = 4.
	Readers int
	// Clock is the store's clock, called from several goroutines; nil = time.Now.
	Clock func() time.Time
	// Log gets what no caller is told; nil = slog.Default().
	Log *slog.Logger
}

// Store is a queue.Store in one SQLite file, for one process.
type Store struct {
	path  string
	clock func() time.Time
	log   *slog.Logger
	lock  *os.File // held for life

	maxBytes       atomic.Int64
	readers        readers
	w              *writer
	hub            hub
	submits        submits
	states         stateCache
	reconcileAfter atomic.Int64 // number of the job that Reconcile saw last

	mu     sync.Mutex // guards closed, and verbs.Add against Wait
	closed bool
	verbs  sync.WaitGroup
	done   chan struct{} // closed when Close begins: ends subscriptions
}

var _ queue.Store = (*Store)(nil)

// enter counts a verb in, unless the store is closed.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.closedError()
	}
	s.verbs.Add(1)
	return nil
}

// Close waits for running verbs, ends subscriptions, and releases the file. A
// verb that works in steps ends after the present one, with Unavailable.
// Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	s.mu.Unlock()
	s.verbs.Wait()
	s.w.stop()
	return s.domain(s.release())
}

// release closes the connections, the writer's last: SQLite then folds the
// write-ahead log into the file.
func (s *Store) release() error {
	return errors.Join(s.readers.close(), s.w.c.Close(), s.lock.Close())
}

// now is the store's clock, cut to what it keeps of a time.
func (s *Store) now() time.Time { return truncate(s.clock()) }

// write runs fn in the writer, in one transaction with what else waits, and
// returns when that is durable. weight is about how many rows it changes. fn may run more than
// once (each time from the stored state), and must give its error before its first
// change where it can.
func (s *Store) write(ctx context.Context, weight int, fn func(t *tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.verbs.Done()
	return s.domain(s.w.do(ctx, weight, fn))
}

// read runs fn on a connection of its own beside the writer; it sees all that
// was acknowledged before.
func (s *Store) read(ctx context.Context, fn func(c *sqlite.Conn) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.verbs.Done()
	c, err := s.readers.take(ctx)
	if err != nil {
		return s.domain(err)
	}
	defer func() {
		if e := s.readers.put(c, err); e != nil {
			s.log.Warn("a failed connection to the store could not be closed", "error", e)
		}
	}()
	if err := ctx.Err(); err != nil {
		return s.domain(err)
	}
	if ctx.Done() != nil {
		c.SetInterrupt(ctx.Done())
		defer c.SetInterrupt(nil)
	}
	err = fn(c)
	if err != nil && sqlite.ErrCode(err) == sqlite.ResultInterrupt && ctx.Err() != nil {
		err = ctx.Err()
	}
	return s.domain(err)
}

// committed tells the parts in memory what a commit has changed, before it is
// acknowledged.
func (s *Store) committed(t *tx) {
	s.states.applied(t.moves, t.ranges)
	s.hub.send(t.hints)
}

// snapshot is read with all statements of fn seeing the same state.
func (s *Store) snapshot(ctx context.Context, fn func(c *sqlite.Conn) error) error {
	return s.read(ctx, func(c *sqlite.Conn) (err error) {
		if err := query(c, nil, `BEGIN`); err != nil {
			return err
		}
		defer func() {
			c.SetInterrupt(nil) // the end must not fail because ctx has ended
			if e := query(c, nil, `ROLLBACK`); err == nil {
				err = e
			}
		}()
		return fn(c)
	})
}

// Now is the store's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.enter(); err != nil {
		return time.Time{}, err
	}
	defer s.verbs.Done()
	return s.now(), nil
}
