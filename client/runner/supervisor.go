package runner

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/session/wire"
)

const (
	// drainFor is how long output is still taken after the script has ended while
	// something that it left behind holds the pipe.
	drainFor = time.Second
	// hushFor is how long the first news is held back, so that all of an instant
	// script travels together.
	hushFor = 10 * time.Millisecond
	// retryAfter is the pause before the disk is tried again.
	retryAfter = 250 * time.Millisecond
	// killAgain is the pause between kills while something is left of the group.
	killAgain = 100 * time.Millisecond
	// pipeRead is the most that is read from a pipe at a time.
	pipeRead = 32 << 10
)

// chunk is what a pipe gave; no data = it is at its end.
type chunk struct {
	kind FrameKind
	data []byte
	back chan<- []byte // where the buffer goes when it has been taken in
}

// supervisor is the state of a supervisor; its loop owns it.
type supervisor struct {
	dir   string
	held  *os.File // dir: what is written goes there, and not to another that has got its name
	order order
	state state
	clock clock
	board *board

	writer *segmentWriter
	gather gather
	drafts []draft // to be written
	pipes  []*os.File
	open   int // pipes not at their end
	chunks chan chunk

	cancels chan time.Duration
	main    int
	status  *syscall.WaitStatus // of the script, once it has ended
	gone    bool                // the script and all that it left are gone
	why     wire.Outcome        // TimedOut or Cancelled once that has begun
	failure string              // the script couldn't be started
	exit    *Exit               // to be written

	hush, limit, kill, drain, retry *time.Timer
	draining, closed                bool // the pipes have their last while; were told to end
	ended                           bool
}

// stoppedTimer gives a timer that doesn't fire before it is reset.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func newSupervisor(dir string, o order) (*supervisor, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	self, ok := pidOf(os.Getpid())
	if !ok {
		return nil, errors.New("/proc doesn't show this process")
	}
	held, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if o.Spec.OutputLimit <= 0 {
		o.Spec.OutputLimit = DefaultOutputLimit
	}
	s := &supervisor{
		dir: dir, held: held, order: o, board: newBoard(), clock: clock{time.Now()},
		state:   state{Version: stateVersion, Execution: o.Spec.Execution, Boot: boot, Supervisor: self},
		writer:  newSegmentWriter(heldPath(held)),
		gather:  gather{limit: o.Spec.OutputLimit},
		chunks:  make(chan chunk),
		cancels: make(chan time.Duration),
		hush:    stoppedTimer(), limit: stoppedTimer(), kill: stoppedTimer(), drain: stoppedTimer(), retry: stoppedTimer(),
	}
	return s, writeState(dir, s.state)
}

// start forks the script. A failure becomes the exit.
func (s *supervisor) start() {
	if err := s.fork(); err != nil {
		s.failure = err.Error()
		return
	}
	s.drafts = append(s.drafts, draft{kind: Started, at: s.clock.now().UnixMilli()})
	s.hush.Reset(hushFor)
	s.limit.Reset(s.order.Spec.RunTimeout)
}

func (s *supervisor) fork() error {
	file, err := placeScript(s.dir, s.order.Spec, s.order.Account)
	if err != nil {
		return err
	}
	var reads, writes []*os.File
	defer func() {
		for _, w := range writes {
			w.Close()
		}
	}()
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		reads, writes = append(reads, r), append(writes, w)
	}
	p, err := launch(s.order.Spec, s.order.Account, file, writes[0], writes[1])
	if err != nil {
		return err
	}
	s.main = p.Pid
	s.state.Script, _ = pidOf(p.Pid)
	p.Release() //nolint:errcheck // the reaper waits for it
	// Without it the script is still found by attaching; only orphans of a killed supervisor aren't.
	_ = writeState(s.dir, s.state)
	s.pipes, s.open = reads, len(reads)
	for i, r := range reads {
		go readPipe(Stdout+FrameKind(i), r, s.chunks)
	}
	return nil
}

// loop runs until the exit is on disk.
func (s *supervisor) loop() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	flush := stoppedTimer()
	hushed := s.failure == ""
	if s.main != 0 {
		s.reap() // it may have ended before the signal was asked for
	}
	for s.step(hushed); !s.ended; s.step(hushed) {
		chunks := s.chunks
		if len(s.drafts) > 0 {
			chunks = nil // the disk is full: the script waits in its pipe
		}
		if at, ok := s.gather.due(); ok {
			flush.Reset(at.Sub(s.clock.now()))
		}
		select {
		case c := <-chunks:
			s.take(c)
		case <-children:
			s.reap()
		case grace := <-s.cancels:
			s.end(wire.Cancelled, grace)
		case <-s.limit.C:
			s.end(wire.TimedOut, s.order.Spec.Grace)
		case <-s.kill.C:
			if !s.gone {
				signalAll(s.main, syscall.SIGKILL)
				s.kill.Reset(killAgain)
			}
		case <-s.drain.C:
			s.closePipes()
		case <-flush.C:
			s.drafts = s.gather.flush(s.clock.now(), s.drafts)
		case <-s.hush.C:
			hushed = false
		case <-s.retry.C:
		}
	}
}

// step writes what is to be written, and tells the agents.
func (s *supervisor) step(hushed bool) {
	news := false
	for len(s.drafts) > 0 {
		d := s.drafts[0]
		if err := s.writer.append(d.at, d.kind, d.data); err != nil && !s.removed() {
			s.retry.Reset(retryAfter)
			break
		}
		s.drafts = s.drafts[1:]
		news = true
	}
	if latest, _ := s.board.read(); !hushed && (news || latest.num < s.writer.next-1) && s.writer.next > FirstSeq {
		s.board.post(note{noteFrames, s.writer.next - 1})
	}
	if s.done() {
		s.finish()
	}
}

func (s *supervisor) take(c chunk) {
	if len(c.data) == 0 {
		s.open--
		return
	}
	s.drafts = s.gather.add(c.kind, c.data, s.clock.now(), s.drafts)
	c.back <- c.data[:cap(c.data)]
}

func (s *supervisor) reap() {
	status, none := reap(s.main)
	s.gone = none
	if status != nil && s.status == nil {
		s.status = status
		s.limit.Stop()
	}
	if s.status != nil && (s.why == "" || s.gone) && !s.draining {
		s.draining = true
		s.drain.Reset(drainFor)
	}
}

// end begins to end the script, or hurries that. What has ended by itself stays
// so.
func (s *supervisor) end(why wire.Outcome, grace time.Duration) {
	if s.status != nil || s.failure != "" {
		return
	}
	if s.why == "" {
		s.why = why
		s.limit.Stop()
		signalAll(s.main, syscall.SIGTERM)
		signalAll(s.main, syscall.SIGCONT) // what is stopped can't heed it
		s.kill.Reset(grace)
		return
	}
	if grace == 0 {
		s.kill.Reset(0)
	}
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
	return s.status != nil && s.open == 0 && (s.why == "" || s.gone)
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
