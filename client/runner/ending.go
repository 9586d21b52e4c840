package runner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/session/wire"
)

func (s *supervisor) reap() {
	status, none := reap(s.main)
	s.gone = none && !s.cgroup.populated()
	if status != nil && s.status == nil {
		s.status = status
		s.limit.Stop()
		if s.order.Spec.EndAll && s.why == "" && !s.gone {
			s.terminate(s.order.Spec.Grace)
		}
	}
	if s.status != nil && (!s.endsAll() || s.gone) && !s.draining {
		s.draining = true
		s.drain.Reset(drainFor)
	}
}

// end begins to end the script, or hurries that. What has ended by itself stays
// so.
func (s *supervisor) end(why wire.Outcome, grace time.Duration) {
	switch {
	case s.failure != "":
	case s.status == nil && s.why == "":
		s.why = why
		s.limit.Stop()
		s.terminate(grace)
	case s.endsAll() && grace == 0:
		s.kill.Reset(0)
	}
}

// endsAll tells whether the exit waits until nothing is left of the script.
func (s *supervisor) endsAll() bool { return s.why != "" || s.order.Spec.EndAll }

// terminate asks all that is left of the script to end, and ends it after grace.
func (s *supervisor) terminate(grace time.Duration) {
	signalAll(s.main, syscall.SIGTERM)
	signalAll(s.main, syscall.SIGCONT) // what is stopped can't heed it
	s.kill.Reset(grace)
}

func (s *supervisor) killAll() {
	s.cgroup.kill()
	killDescendants() // what left the cgroup, or all where there is none
}

// done tells whether nothing more can come: the script has ended, its pipes too, and where
// it was ended, all of its group is gone.
func (s *supervisor) done() bool {
	if len(s.drafts) > 0 || s.ended {
		return false
	}
	if s.failure != "" {
		return true
	}
	return s.status != nil && s.open == 0 && (!s.endsAll() || s.gone)
}

// finish makes all of it durable and says so. It may have to be repeated.
func (s *supervisor) finish() {
	if s.drafts = s.gather.end(s.clock.now(), s.drafts); len(s.drafts) > 0 {
		s.retry.Reset(0) // once more round: they are to be written
		return
	}
	if s.exit == nil {
		s.exit = s.outcome()
	}
	if err := errors.Join(s.writer.end(), writeExit(heldPath(s.held), *s.exit)); err != nil && !s.removed() {
		s.retry.Reset(retryAfter)
		return
	}
	s.cgroup.remove() //nolint:errcheck // it is in use if the script left something behind
	s.ended = true
	s.board.post(note{noteExit, s.writer.next - 1})
}

// removed tells whether the directory is gone, or another has its place, with whoever would
// have read it: the script still has its limits, but what becomes of it is of no interest any more.
func (s *supervisor) removed() bool {
	now, err := os.Stat(s.dir)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	}
	then, err := s.held.Stat()
	return err == nil && !os.SameFile(then, now)
}

// heldPath names an open directory, whatever has become of its name.
func heldPath(d *os.File) string { return filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd()))) }

func (s *supervisor) outcome() *Exit {
	e := &Exit{
		Seq: s.writer.next, At: s.clock.now().UnixMilli(), ExitCode: -1,
		Dropped: s.gather.dropped, Bytes: s.writer.bytes,
	}
	switch {
	case s.failure != "":
		e.Outcome, e.Reason = wire.Failed, s.failure
		return e
	case s.status.Exited():
		e.ExitCode = s.status.ExitStatus()
	case s.status.Signaled():
		e.Signal = unix.SignalName(s.status.Signal())
	}
	switch {
	case s.why == wire.TimedOut:
		e.Outcome, e.Reason = wire.TimedOut, "still running after "+s.order.Spec.RunTimeout.String()
	case s.why != "":
		e.Outcome = s.why
	case e.ExitCode == 0:
		e.Outcome = wire.Succeeded
	default:
		e.Outcome = wire.Failed
	}
	return e
}
