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
	changed chan struct{}
	spool   spool // of the goroutine that calls Read

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	done   chan struct{} // closed when nobody listens to the supervisor

	mu     sync.Mutex // guards the following
	status Status
}

var _ Process = (*follower)(nil)

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
		}
		if f.ctx.Err() != nil {
			return false
		}
		p, err := bury(f.dir)
		if err == nil {
			f.set(p.Status())
			return true
		}
		if !errors.Is(err, errAlive) {
			last := f.Status().Last
			f.set(Status{Last: last, Ended: true, Exit: Exit{
				Seq: last + 1, At: time.Now().UnixMilli(), Outcome: wire.Lost, ExitCode: -1,
				Reason: "how the script ended can't be read: " + err.Error(),
			}})
			return true
		}
		// It is about to end, or it dropped the connection.
		select {
		case <-f.ctx.Done():
			return false
		case <-time.After(pause):
		}
		if conn, err = dialCtl(f.dir); err != nil {
			conn = nil
		}
		n = note{}
	}
}

// hear takes notes until the exit, or until the connection ends.
func (f *follower) hear(conn *net.UnixConn, n note) {
	defer conn.Close()
	defer context.AfterFunc(f.ctx, func() { conn.Close() })()
	for n.kind != noteExit {
		if n.num >= FirstSeq {
			f.set(Status{Last: n.num})
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
	if f.Status().Ended {
		return nil
	}
	conn, err := dialCtl(f.dir)
	if err == nil {
		err = errors.Join(writeNote(conn, note{noteCancel, grace.Milliseconds()}), conn.Close())
	}
	if err == nil {
		return nil
	}
	if _, ok, errExit := readExit(f.dir); ok && errExit == nil {
		return nil // it has just ended
	}
	return err
}

func (f *follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}
