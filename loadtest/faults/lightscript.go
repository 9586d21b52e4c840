package faults

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// lightOutput gathers a script's output as a supervisor does: per stream, within the limit.
type lightOutput struct {
	p             *lightProcess
	limit         int64
	kept, dropped int64
	pending       [2][]byte // stdout, stderr
}

func (o *lightOutput) print(text string, stderr bool) {
	n := int64(len(text))
	if o.dropped > 0 || o.kept+n > o.limit {
		room := max(o.limit-o.kept, 0)
		if o.dropped > 0 {
			room = 0
		}
		o.dropped += n - room
		text = text[:room]
	}
	o.kept += int64(len(text))
	i := 0
	if stderr {
		i = 1
	}
	o.pending[i] = append(o.pending[i], text...)
}

// flush makes frames of what is gathered.
func (o *lightOutput) flush() error {
	for i, kind := range []runner.FrameKind{runner.Stdout, runner.Stderr} {
		for len(o.pending[i]) > 0 {
			n := min(len(o.pending[i]), wire.MaxChunk)
			if err := o.p.append(kind, append([]byte(nil), o.pending[i][:n]...)); err != nil {
				return err
			}
			o.pending[i] = o.pending[i][n:]
		}
	}
	return nil
}

// run plays the script, and leaves its exit.
func (p *lightProcess) run() {
	defer p.file.Close()
	exit, err := p.play()
	if err != nil {
		exit = runner.Exit{Outcome: wire.Failed, ExitCode: -1, Reason: "the light runner: " + err.Error()}
	}
	exit.Seq, exit.At = p.Status().Last+1, time.Now().UnixMilli()
	if err := p.leave(exit); err != nil {
		exit.Reason = "the exit can't be written: " + err.Error()
	}
	p.mu.Lock()
	p.status.Ended, p.status.Exit = true, exit
	p.mu.Unlock()
	p.tell()
}

func (p *lightProcess) play() (runner.Exit, error) {
	out := lightOutput{p: p, limit: p.spec.OutputLimit}
	if out.limit <= 0 {
		out.limit = runner.DefaultOutputLimit
	}
	limit := time.NewTimer(p.spec.RunTimeout)
	defer limit.Stop()
	end := func(x runner.Exit, err error) (runner.Exit, error) {
		ferr := out.flush()
		x.Dropped, x.Bytes = out.dropped, out.kept
		return x, errors.Join(err, ferr)
	}
	// wait tells how the script is ended meanwhile; nil = it goes on.
	wait := func(d time.Duration) *runner.Exit {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-p.stop:
			return &runner.Exit{Outcome: wire.Cancelled, ExitCode: -1, Signal: "SIGTERM"}
		case <-limit.C:
			return &runner.Exit{Outcome: wire.TimedOut, ExitCode: -1, Signal: "SIGTERM", Reason: "still running after " + p.spec.RunTimeout.String()}
		}
	}
	if err := p.append(runner.Started, nil); err != nil {
		return end(runner.Exit{}, err)
	}
	for n := 1; n <= p.plan.Lines; n++ {
		out.print(p.plan.Line(p.spec.Execution, n))
		if p.plan.Every > 0 && n%p.plan.Every == 0 {
			if err := out.flush(); err != nil {
				return end(runner.Exit{}, err)
			}
			p.runner.traps.reach(pointRun, p.host, p.spec.Execution)
			if x := wait(time.Duration(p.plan.Pause) * time.Millisecond); x != nil {
				return end(*x, nil)
			}
		}
	}
	if p.plan.Endless {
		if x := wait(time.Hour); x != nil {
			return end(*x, nil)
		}
	}
	if err := p.runner.trace.add("end", p.spec.Execution); err != nil {
		return end(runner.Exit{}, err)
	}
	p.runner.traps.reach(pointEnd, p.host, p.spec.Execution)
	x := runner.Exit{Outcome: wire.Succeeded, ExitCode: p.plan.Exit}
	if p.plan.Exit != 0 {
		x.Outcome = wire.Failed
	}
	return end(x, nil)
}

// leave puts the exit on disk whole, after all that came before it.
func (p *lightProcess) leave(x runner.Exit) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	tmp := filepath.Join(p.dir, lightExit+".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(p.dir, lightExit))
}
