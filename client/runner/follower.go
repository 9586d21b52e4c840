package runner

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// follower is the agent's end of a supervised script.
type follower struct {
	dir     string
	cgroup  string // where the script is, if its state doesn't tell
	changed chan struct{}
	spool   spool // of the goroutine that calls Read

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	done   chan struct{} // closed when nobody listens to the supervisor

	mu     sync.Mutex // guards the following
	status Status
}

var (
	_ Process = (*follower)(nil)
	_ Spooled = (*follower)(nil)
)

func newFollower(dir string, s Status) *follower {
	f := &follower{
		dir: dir, status: s, changed: make(chan struct{}, 1), spool: spool{dir: dir},
		done: make(chan struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.changed <- struct{}{}
	return f
}

func (f *follower) Changed() <-chan struct{} { return f.changed }

func (f *follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *follower) set(s Status) {
	f.mu.Lock()
	f.status = s
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// listen follows the supervisor until its end, or until Close. It tells whether it
// was the end.
func (f *follower) listen(conn *net.UnixConn, n note) bool {
	const soonest, latest = 2 * time.Millisecond, time.Second
	for pause := soonest; ; pause = min(2*pause, latest) {
		if conn != nil {
			f.hear(conn, n)
			conn = nil
		}
		if f.ctx.Err() != nil {
			return false
		}
		// What can't be found out now is asked again.
		if seen, err := look(f.dir); err == nil {
			conn = seen.conn
			if seen.fate() != runs {
				if exit, err := seen.settle(f.dir, f.cgroup); err == nil {
					f.ended(exit)
					return true
				}
			}
		}
		n = note{}
		// It is about to end, or it dropped the connection.
		select {
		case <-f.ctx.Done():
			if conn != nil {
				conn.Close()
			}
			return false
		case <-time.After(pause):
		}
	}
}

// ended makes the exit known. A lost one comes after all that was told, whatever is left of it.
func (f *follower) ended(e Exit) {
	if e.Outcome == wire.Lost {
		e.Seq = max(e.Seq, f.Status().Last+1)
	}
	f.set(Status{Last: e.Seq - 1, Ended: true, Exit: e})
}

// hear takes notes until the exit, or until the connection ends.
func (f *follower) hear(conn *net.UnixConn, n note) {
	defer conn.Close()
	defer context.AfterFunc(f.ctx, func() { conn.Close() })()
	for n.kind != noteExit {
		if n.num >= FirstSeq {
			f.set(Status{Last: n.num, Full: n.kind == noteFull})
		}
		var err error
		if n, err = readNote(conn); err != nil {
			break
		}
	}
}

func (f *follower) Read(from int64, max int) ([]Frame, error) {
	s := f.Status()
	total := int64(-1)
	if s.Ended {
		total = s.Exit.Bytes
	}
	return f.spool.read(from, s.Last, max, total)
}

func (f *follower) Cancel(grace time.Duration) error {
	return f.tell(note{noteCancel, grace.Milliseconds()})
}

// Allow implements Spooled.
func (f *follower) Allow(bytes int64) error { return f.tell(note{noteRoom, bytes}) }

// tell passes a note to the supervisor.
func (f *follower) tell(n note) error {
	if f.Status().Ended {
		return nil
	}
	conn, err := dialCtl(f.dir)
	if err == nil {
		err = errors.Join(writeNote(conn, n), conn.Close())
	}
	if err == nil {
		return nil
	}
	if _, errExit := readExit(f.dir); errExit == nil {
		return nil // it has just ended
	}
	return err
}

// Trim implements Spooled.
func (f *follower) Trim(through int64) error { return trimSegments(f.dir, through) }

func (f *follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}
