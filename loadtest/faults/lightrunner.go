package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// Files in the directory of a light execution.
const (
	lightState  = "state"  // there once it was started
	lightFrames = "frames" // JSON lines
	lightExit   = "exit"
)

// lightRunner plays scripts in its own process, and leaves what a supervisor leaves: a mark of the start, frames
// and the exit, all in files. A script ends with the process, as if the host had been restarted.
type lightRunner struct {
	trace *tracer
	traps *traps

	mu    sync.Mutex // guards the following
	procs map[string]*lightProcess
	wg    sync.WaitGroup
}

func newLightRunner(t *tracer, traps *traps) *lightRunner {
	return &lightRunner{trace: t, traps: traps, procs: map[string]*lightProcess{}}
}

// of gives the runner of one host.
func (r *lightRunner) of(host string) runner.Runner { return hostRunner{r, host} }

type hostRunner struct {
	*lightRunner
	host string
}

// Start implements runner.Runner. It starts whatever it is told to, twice too: that is for the checker to see.
func (r hostRunner) Start(_ context.Context, dir string, spec runner.Spec) (runner.Process, error) {
	r.traps.reach(pointStart, r.host, spec.Execution)
	plan, err := ParsePlan(spec.Script)
	if err != nil {
		return nil, &runner.RefusedError{Reason: err.Error()}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, lightState), nil, 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lightFrames), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &lightProcess{
		dir: dir, host: r.host, spec: spec, plan: plan, runner: r.lightRunner, file: f,
		changed: make(chan struct{}, 1), stop: make(chan struct{}), status: runner.Status{Last: runner.FirstSeq - 1},
	}
	p.changed <- struct{}{}
	if err := r.trace.add("start", spec.Execution); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.procs[dir] = p
	r.wg.Go(p.run)
	return p, nil
}

// Attach implements runner.Runner.
func (r *lightRunner) Attach(dir string) (runner.Process, error) {
	r.mu.Lock()
	p := r.procs[dir]
	r.mu.Unlock()
	if p != nil {
		return p, nil
	}
	if _, err := os.Stat(filepath.Join(dir, lightState)); errors.Is(err, fs.ErrNotExist) {
		return nil, runner.ErrNoTrace
	} else if err != nil {
		return nil, err
	}
	p = &lightProcess{dir: dir, changed: make(chan struct{}, 1), status: runner.Status{Last: runner.FirstSeq - 1, Ended: true}}
	p.changed <- struct{}{}
	kept, err := p.load()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, lightExit))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.status.Exit = runner.Exit{Seq: p.status.Last + 1, At: time.Now().UnixMilli(), Outcome: wire.Lost, ExitCode: -1, Reason: "the host was restarted while the script ran", Bytes: kept}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, &p.status.Exit); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Remove implements runner.Runner.
func (r *lightRunner) Remove(dir string) error {
	r.mu.Lock()
	delete(r.procs, dir)
	r.mu.Unlock()
	return os.RemoveAll(dir)
}

// close ends all scripts.
func (r *lightRunner) close() {
	r.mu.Lock()
	for _, p := range r.procs {
		p.Cancel(0) //nolint:errcheck // it can't fail
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// lightProcess is a script that is played, or what is left of one.
type lightProcess struct {
	dir, host string
	spec      runner.Spec
	plan      Plan
	runner    *lightRunner
	file      *os.File
	changed   chan struct{}
	stop      chan struct{} // closed by Cancel
	once      sync.Once

	mu     sync.Mutex // guards the following
	frames []runner.Frame
	status runner.Status
}

// load reads the frames that are on disk. The last may be torn.
func (p *lightProcess) load() (kept int64, err error) {
	f, err := os.Open(filepath.Join(p.dir, lightFrames))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		var fr runner.Frame
		if err != nil || json.Unmarshal(line, &fr) != nil {
			return kept, nil
		}
		p.frames = append(p.frames, fr)
		p.status.Last = fr.Seq
		kept += int64(len(fr.Data))
	}
}

// Changed implements runner.Process.
func (p *lightProcess) Changed() <-chan struct{} { return p.changed }

// Status implements runner.Process.
func (p *lightProcess) Status() runner.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Read implements runner.Process.
func (p *lightProcess) Read(from int64, max int) ([]runner.Frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := int(from - runner.FirstSeq)
	if i < 0 || i >= len(p.frames) {
		return nil, nil
	}
	n, size := i, 0
	for n < len(p.frames) && (n == i || size+len(p.frames[n].Data) <= max) {
		size += len(p.frames[n].Data)
		n++
	}
	return slices.Clone(p.frames[i:n]), nil
}

// Cancel implements runner.Process: a script of the suite heeds TERM at once.
func (p *lightProcess) Cancel(time.Duration) error {
	p.once.Do(func() {
		if p.stop != nil {
			close(p.stop)
		}
	})
	return nil
}

// Close implements runner.Process.
func (p *lightProcess) Close() error { return nil }

// append makes a frame: on disk first, known afterwards.
func (p *lightProcess) append(kind runner.FrameKind, data []byte) error {
	p.mu.Lock()
	fr := runner.Frame{Seq: p.status.Last + 1, At: time.Now().UnixMilli(), Kind: kind, Data: data}
	p.mu.Unlock()
	b, err := json.Marshal(fr)
	if err != nil {
		return err
	}
	if _, err := p.file.Write(append(b, '\n')); err != nil {
		return err
	}
	p.mu.Lock()
	p.frames = append(p.frames, fr)
	p.status.Last = fr.Seq
	p.mu.Unlock()
	p.tell()
	return nil
}

func (p *lightProcess) tell() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
