package loadtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// SimRunner runs scripts in memory, as ParseScript reads them: nothing is forked and nothing written. It
// takes no time but for the sleeps. Directories are names only. What was started is kept until Remove.
type SimRunner struct {
	mu    sync.Mutex // guards the following
	procs map[string]*simProcess
}

// NewSimRunner makes a runner without processes.
func NewSimRunner() *SimRunner { return &SimRunner{procs: map[string]*simProcess{}} }

// Start implements runner.Runner.
func (r *SimRunner) Start(_ context.Context, dir string, spec runner.Spec) (runner.Process, error) {
	steps, err := ParseScript(string(spec.Script))
	if err != nil {
		return nil, err
	}
	p := &simProcess{steps: steps, spec: spec, changed: make(chan struct{}, 1), frames: make([]runner.Frame, 0, len(steps)+1)}
	p.spec.Script = nil
	r.mu.Lock()
	if r.procs[dir] != nil {
		r.mu.Unlock()
		return nil, fmt.Errorf("a script was started in %s before", dir)
	}
	r.procs[dir] = p
	r.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(runner.Started, nil)
	p.advanceLocked()
	return p, nil
}

// Attach implements runner.Runner.
func (r *SimRunner) Attach(dir string) (runner.Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.procs[dir]; p != nil {
		return p, nil
	}
	return nil, runner.ErrNoTrace
}

// Remove implements runner.Runner.
func (r *SimRunner) Remove(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.procs, dir)
	return nil
}

// Stop ends all that sleeps, so that no timer is left.
func (r *SimRunner) Stop() {
	r.mu.Lock()
	procs := make([]*simProcess, 0, len(r.procs))
	for _, p := range r.procs {
		procs = append(procs, p)
	}
	r.mu.Unlock()
	for _, p := range procs {
		p.Cancel(0)
	}
}

// simProcess is a script that a SimRunner runs.
type simProcess struct {
	spec    runner.Spec // without the script
	changed chan struct{}

	mu     sync.Mutex // guards the following
	steps  []Step     // still to do
	slept  time.Duration
	timer  *time.Timer // nil = it doesn't sleep
	frames []runner.Frame
	kept   int64
	lost   int64 // beyond the output limit
	status runner.Status
}

// addLocked makes a frame.
func (p *simProcess) addLocked(kind runner.FrameKind, data []byte) {
	seq := runner.FirstSeq + int64(len(p.frames))
	p.frames = append(p.frames, runner.Frame{Seq: seq, At: time.Now().UnixMilli(), Kind: kind, Data: data})
	p.status.Last = seq
	p.kept += int64(len(data))
}

// advanceLocked does the steps up to the next sleep.
func (p *simProcess) advanceLocked() {
	for len(p.steps) > 0 {
		if d := p.steps[0].Sleep; d > 0 {
			p.sleepLocked(d)
			return
		}
		p.printLocked(p.steps[0].Output)
		p.steps = p.steps[1:]
	}
	p.endLocked(runner.Exit{Outcome: wire.Succeeded})
}

// sleepLocked has the script go on later, or be ended for its time limit.
func (p *simProcess) sleepLocked(d time.Duration) {
	late := p.spec.RunTimeout > 0 && p.slept+d > p.spec.RunTimeout
	if late {
		d = p.spec.RunTimeout - p.slept
	}
	p.slept += d
	p.timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.status.Ended:
		case late:
			p.endLocked(runner.Exit{Outcome: wire.TimedOut, ExitCode: -1, Signal: "SIGTERM",
				Reason: "still running after " + p.spec.RunTimeout.String()})
		default:
			p.steps[0].Sleep = 0
			p.advanceLocked()
		}
	})
	p.tellLocked()
}

func (p *simProcess) printLocked(text string) {
	limit := p.spec.OutputLimit
	if limit <= 0 {
		limit = runner.DefaultOutputLimit
	}
	if over := p.kept + int64(len(text)) - limit; over > 0 {
		over = min(over, int64(len(text)))
		text = text[:int64(len(text))-over]
		p.lost += over
	}
	for len(text) > 0 {
		n := min(len(text), wire.MaxChunk)
		p.addLocked(runner.Stdout, []byte(text[:n]))
		text = text[n:]
	}
}

func (p *simProcess) endLocked(x runner.Exit) {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.steps = nil
	x.Seq, x.At, x.Bytes, x.Dropped = p.status.Last+1, time.Now().UnixMilli(), p.kept, p.lost
	p.status.Ended, p.status.Exit = true, x
	p.tellLocked()
}

func (p *simProcess) tellLocked() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Changed implements runner.Process.
func (p *simProcess) Changed() <-chan struct{} { return p.changed }

// Status implements runner.Process.
func (p *simProcess) Status() runner.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Read implements runner.Process.
func (p *simProcess) Read(from int64, max int) ([]runner.Frame, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := from - runner.FirstSeq
	if begin < 0 || begin >= int64(len(p.frames)) {
		return nil, nil
	}
	end := begin
	for end < int64(len(p.frames)) {
		if max -= len(p.frames[end].Data); max < 0 && end > begin {
			break
		}
		end++
	}
	return p.frames[begin:end:end], nil // frames don't change
}

// Cancel implements runner.Process: a simulated script obeys at once.
func (p *simProcess) Cancel(time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.status.Ended {
		p.endLocked(runner.Exit{Outcome: wire.Cancelled, ExitCode: -1, Signal: "SIGTERM"})
	}
	return nil
}

// Close implements runner.Process.
func (p *simProcess) Close() error { return nil }
