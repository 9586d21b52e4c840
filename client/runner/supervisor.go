package runner

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

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

	notes   chan note
	main    int
	cgroup  cgroup              // of the script; without a path = it has none of its own
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
	self, ok, err := pidOf(os.Getpid())
	if err == nil && !ok {
		err = errors.New("/proc doesn't show this process")
	}
	if err != nil {
		return nil, err
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
		state:  state{Version: stateVersion, Execution: o.Spec.Execution, Boot: boot, Supervisor: self},
		writer: newSegmentWriter(heldPath(held)),
		gather: gather{limit: o.Spec.OutputLimit},
		chunks: make(chan chunk),
		notes:  make(chan note),
		hush:   stoppedTimer(), limit: stoppedTimer(), kill: stoppedTimer(), drain: stoppedTimer(), retry: stoppedTimer(),
	}
	s.allow(o.Spec.SpoolLimit)
	if o.Cgroup != "" {
		if s.cgroup, err = makeCgroup(o.Cgroup); err != nil { // it is told in the log; without one it works too
			fmt.Fprintf(os.Stderr, "no cgroup for the script: %v\n", err)
		}
	}
	s.state.Cgroup = s.cgroup.path
	return s, writeState(dir, s.state)
}

// leastRoom is the least that a spool may have, in bytes: it holds several segments.
const leastRoom = 16 * maxFrame

func (s *supervisor) allow(room int64) {
	if room > 0 {
		room = max(room, leastRoom)
	}
	s.writer.room = room
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
	p, err := s.launch(file, writes[0], writes[1])
	if err != nil {
		return err
	}
	s.main = p.Pid
	s.state.Script, _, _ = pidOf(p.Pid)
	p.Release() //nolint:errcheck // the reaper waits for it
	// Without it the script is still found by attaching; only orphans of a killed supervisor aren't.
	_ = writeState(s.dir, s.state)
	s.pipes, s.open = reads, len(reads)
	for i, r := range reads {
		go readPipe(Stdout+FrameKind(i), r, s.chunks)
	}
	return nil
}

// launch starts the script in its cgroup, so that not even its first instruction is outside; where that
// is refused, without one.
func (s *supervisor) launch(file string, stdout, stderr *os.File) (*os.Process, error) {
	if s.cgroup.path != "" {
		dir, err := os.Open(s.cgroup.path)
		if err == nil {
			defer dir.Close()
			var p *os.Process
			if p, err = launch(s.order.Spec, s.order.Account, file, stdout, stderr, dir); err == nil {
				return p, nil
			}
		}
		p, errWithout := launch(s.order.Spec, s.order.Account, file, stdout, stderr, nil)
		if errWithout == nil {
			fmt.Fprintf(os.Stderr, "the script isn't in a cgroup of its own: %v\n", err)
		}
		s.cgroup.remove() //nolint:errcheck // it is empty
		s.cgroup, s.state.Cgroup = cgroup{}, ""
		return p, errWithout
	}
	return launch(s.order.Spec, s.order.Account, file, stdout, stderr, nil)
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
			chunks = nil // the disk, or the spool, is full: the script waits in its pipe
		}
		if at, ok := s.gather.due(); ok {
			flush.Reset(at.Sub(s.clock.now()))
		}
		select {
		case c := <-chunks:
			s.take(c)
		case <-children:
			s.reap()
		case n := <-s.notes:
			s.heed(n)
		case <-s.limit.C:
			s.end(wire.TimedOut, s.order.Spec.Grace)
		case <-s.kill.C:
			if s.reap(); !s.gone {
				s.killAll()
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
	news, kind := false, noteFrames
	for len(s.drafts) > 0 {
		d := s.drafts[0]
		if s.writer.full(d.data) && !s.last() {
			kind = noteFull
			s.retry.Reset(retryAfter)
			break
		}
		if err := s.writer.append(d.at, d.kind, d.data); err != nil && !s.removed() {
			s.retry.Reset(retryAfter)
			break
		}
		s.drafts = s.drafts[1:]
		news = true
	}
	latest, _ := s.board.read()
	if now := (note{kind, s.writer.next - 1}); !hushed && (news || latest != now) && s.writer.next > FirstSeq {
		s.board.post(now)
	}
	if s.done() {
		s.finish()
	}
}

// last tells whether no more can come than the pipes hold: that is written even to a full spool, or
// a script that has ended would seem to run until somebody makes room.
func (s *supervisor) last() bool { return s.closed || s.status != nil && (s.gone || s.open == 0) }

// heed does what an agent says.
func (s *supervisor) heed(n note) {
	switch n.kind {
	case noteCancel:
		s.end(wire.Cancelled, time.Duration(n.num)*time.Millisecond)
	case noteRoom:
		s.allow(n.num)
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
