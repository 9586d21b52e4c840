package loadtest

import (
	"context"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/runner"
)

// realRunner is the real runner, which ends with the run what is still running then: scripts outlive their agent.
type realRunner struct {
	runner.Runner

	mu   sync.Mutex // guards the following
	live map[string]runner.Process
}

func newRealRunner() *realRunner {
	return &realRunner{Runner: runner.New(), live: map[string]runner.Process{}}
}

// Start implements runner.Runner.
func (r *realRunner) Start(ctx context.Context, dir string, spec runner.Spec) (runner.Process, error) {
	p, err := r.Runner.Start(ctx, dir, spec)
	if err == nil {
		r.mu.Lock()
		r.live[dir] = p
		r.mu.Unlock()
	}
	return p, err
}

// Remove implements runner.Runner.
func (r *realRunner) Remove(dir string) error {
	r.mu.Lock()
	delete(r.live, dir)
	r.mu.Unlock()
	return r.Runner.Remove(dir)
}

// killPatience is how long killed scripts may take to be gone.
const killPatience = 5 * time.Second

// Stop kills what still runs, and returns when it has ended.
func (r *realRunner) Stop() {
	r.mu.Lock()
	var running []runner.Process
	for _, p := range r.live {
		if !p.Status().Ended && p.Cancel(0) == nil {
			running = append(running, p)
		}
	}
	r.mu.Unlock()
	deadline := time.Now().Add(killPatience)
	for _, p := range running {
		// Its agent receives its changes, so it has to be asked.
		for !p.Status().Ended && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	}
}
