package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// memRunner runs scripts without processes, and outlives agents like
// supervisors do. Its scripts are words: out:TEXT, err:TEXT, sleep:MS, deaf (to TERM), exit:N.
type memRunner struct {
	mu       sync.Mutex // guards the following, and the fields of scripts
	scripts  map[string]*memScript
	starts   map[string]int // by the name of the directory
	removed  map[string]bool
	wg       sync.WaitGroup
	refuse   error           // of the next Start
	stuck    bool            // Start blocks until its ctx ends, and starts nothing
	starting func(id string) // called by each Start before anything else; it may be nil
	blind    int             // how often Attach still fails, as without a descriptor
}

func newMemRunner() *memRunner {
	return &memRunner{scripts: map[string]*memScript{}, starts: map[string]int{}, removed: map[string]bool{}}
}

type memScript struct {
	frames   []runner.Frame
	exit     *runner.Exit
	deaf     bool
	trimmed  int64   // frames up to here are gone
	rooms    []int64 // that it was told, in order
	full     bool
	cancel   chan struct{}
	watchers []*memProcess
}

type memProcess struct {
	r       *memRunner
	s       *memScript
	changed chan struct{}
}

func (r *memRunner) Start(ctx context.Context, dir string, spec runner.Spec) (runner.Process, error) {
	if r.starting != nil {
		r.starting(filepath.Base(dir))
	}
	r.mu.Lock()
	refuse, stuck := r.refuse, r.stuck
	r.refuse = nil
	r.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if refuse != nil {
		return nil, refuse
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := filepath.Base(dir)
	if r.scripts[id] != nil {
		return nil, errors.New("the directory is taken")
	}
	r.starts[id]++
	s := &memScript{cancel: make(chan struct{}), rooms: []int64{spec.SpoolLimit}}
	r.scripts[id] = s
	s.frames = append(s.frames, runner.Frame{Seq: 2, At: time.Now().UnixMilli(), Kind: runner.Started})
	words := strings.Fields(string(spec.Script))
	r.wg.Go(func() { r.play(s, words, spec.RunTimeout) })
	return r.handleLocked(s), nil
}

func (r *memRunner) handleLocked(s *memScript) *memProcess {
	p := &memProcess{r: r, s: s, changed: make(chan struct{}, 1)}
	signal(p.changed)
	s.watchers = append(s.watchers, p)
	return p
}

func (r *memRunner) play(s *memScript, words []string, limit time.Duration) {
	deadline := time.After(limit)
	exit := runner.Exit{Outcome: wire.Succeeded}
words:
	for _, w := range words {
		verb, arg, _ := strings.Cut(w, ":")
		switch verb {
		case "out":
			r.emit(s, runner.Stdout, arg)
		case "err":
			r.emit(s, runner.Stderr, arg)
		case "deaf":
			r.mu.Lock()
			s.deaf = true
			r.mu.Unlock()
		case "exit":
			exit.ExitCode, _ = strconv.Atoi(arg)
			exit.Outcome = wire.Failed
		case "sleep":
			ms, _ := strconv.Atoi(arg)
			select {
			case <-time.After(time.Duration(ms) * time.Millisecond):
			case <-deadline:
				exit = runner.Exit{Outcome: wire.TimedOut, ExitCode: -1}
				break words
			case <-s.cancel:
				exit = runner.Exit{Outcome: wire.Cancelled, ExitCode: -1, Signal: "SIGTERM"}
				break words
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.exit == nil {
		r.endLocked(s, exit)
	}
}

func (r *memRunner) endLocked(s *memScript, exit runner.Exit) {
	exit.Seq, exit.At = int64(len(s.frames))+2, time.Now().UnixMilli()
	for _, f := range s.frames {
		exit.Bytes += int64(len(f.Data))
	}
	s.exit = &exit
	s.tell()
}

func (s *memScript) tell() {
	for _, p := range s.watchers {
		signal(p.changed)
	}
}

func (r *memRunner) emit(s *memScript, kind runner.FrameKind, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.exit == nil {
		s.frames = append(s.frames, runner.Frame{Seq: int64(len(s.frames)) + 2, At: time.Now().UnixMilli(), Kind: kind, Data: []byte(text)})
		s.tell()
	}
}

// reboot ends all that runs, without a trace of an exit, and with less on disk than
// was printed.
func (r *memRunner) reboot(keepFrames int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.scripts {
		if s.exit == nil {
			s.frames = s.frames[:min(len(s.frames), keepFrames)]
			r.endLocked(s, runner.Exit{Outcome: wire.Lost, ExitCode: -1, Reason: "the host was restarted while the script ran"})
		}
	}
}

func (r *memRunner) Attach(dir string) (runner.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blind > 0 {
		r.blind--
		return nil, fmt.Errorf("open %s: %w", dir, syscall.EMFILE)
	}
	s := r.scripts[filepath.Base(dir)]
	if s == nil {
		return nil, runner.ErrNoTrace
	}
	return r.handleLocked(s), nil
}

func (r *memRunner) Remove(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := filepath.Base(dir)
	if s := r.scripts[id]; s != nil && s.exit == nil {
		return fmt.Errorf("%s is still running", id)
	}
	delete(r.scripts, id)
	r.removed[id] = true
	return nil
}

func (r *memRunner) started(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[id]
}

func (r *memRunner) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.scripts[id] != nil
}

func (p *memProcess) Changed() <-chan struct{} { return p.changed }
func (p *memProcess) Close() error             { return nil }

func (p *memProcess) Status() runner.Status {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	st := runner.Status{Last: int64(len(p.s.frames)) + 1, Full: p.s.full}
	if p.s.exit != nil {
		st.Ended, st.Exit = true, *p.s.exit
	}
	return st
}

func (p *memProcess) Read(from int64, max int) ([]runner.Frame, error) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if from <= p.s.trimmed {
		return []runner.Frame{{Kind: runner.Missing, Seq: from, Through: p.s.trimmed, Bytes: 1}}, nil
	}
	var out []runner.Frame
	for size, i := 0, int(from)-2; i < len(p.s.frames) && (len(out) == 0 || size < max); i++ {
		out = append(out, p.s.frames[i])
		size += len(p.s.frames[i].Data)
	}
	return out, nil
}

func (p *memProcess) Cancel(grace time.Duration) error {
	p.r.mu.Lock()
	deaf := p.s.deaf
	p.r.mu.Unlock()
	wait := time.Duration(0)
	if deaf {
		wait = grace
	}
	p.r.wg.Go(func() {
		time.Sleep(wait)
		p.r.mu.Lock()
		defer p.r.mu.Unlock()
		select {
		case <-p.s.cancel:
		default:
			close(p.s.cancel)
		}
	})
	return nil
}

func (p *memProcess) Trim(through int64) error {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.s.trimmed, p.s.full = max(p.s.trimmed, through), false
	p.s.tell()
	return nil
}

func (p *memProcess) Allow(bytes int64) error {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.s.rooms = append(p.s.rooms, bytes)
	return nil
}

// trimmed tells up to which frame a script's are gone.
func (r *memRunner) trimmed(id string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.scripts[id].trimmed
}

// rooms tells what room a script was given, in order.
func (r *memRunner) rooms(id string) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.scripts[id].rooms
}
