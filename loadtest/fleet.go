package loadtest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/loadtest/report"
	"github.com/rexgate/rexgate/session/wire"
)

// fleet is the hosts of one worker.
type fleet struct {
	order    fleetOrder
	modes    []client.Mode // of all hosts of the fleet
	net      *network
	runner   stopper
	policy   agent.Policy
	boot     string
	facts    func() map[string]string
	observer client.Observer
	hosts    []*host

	enrolled atomic.Int64
	up       [2]atomic.Int64 // by socket, by poll
	reached  [steps]atomic.Int64
	errors   errorCounts
	polls    pollCounts

	cancel  context.CancelFunc // nil = connect wasn't called
	running sync.WaitGroup

	mu     sync.Mutex // guards the following
	traces []*trace   // done, and not collected
}

// stopper is a runner that can end all that it runs.
type stopper interface {
	runner.Runner
	Stop()
}

// newFleet makes the hosts, with their journals.
func newFleet(o fleetOrder) (*fleet, error) {
	f := &fleet{order: o, modes: o.Mix.Assign(o.Hosts), policy: anything{}}
	var err error
	if f.net, err = newNetwork(o.Gateways, o.CA, o.Mix.connections()); err != nil {
		return nil, err
	}
	f.boot = hex.EncodeToString(o.Identity.derive("boot")[:16])
	f.runner = NewSimRunner()
	if o.Real {
		f.runner, f.policy = newRealRunner(), agent.UserPolicy{AllowRoot: os.Geteuid() == 0}
		if f.boot, err = runner.BootID(); err != nil {
			return nil, err
		}
	}
	// About what a real host tells of itself.
	facts := map[string]string{"arch": runtime.GOARCH, "cpus": "1", "hostname": o.Identity.Name, "kernel": "simulated", "os": "rexload"}
	f.facts = func() map[string]string { return facts }
	f.observer = client.Observer{
		Ended: f.ended, Polled: f.polls.add, Refused: func(err error) { f.errors.add("asked to wait", err) },
	}
	f.hosts = make([]*host, 0, o.To-o.From)
	for i := o.From; i < o.To; i++ {
		h, err := newHost(f, i)
		if err != nil {
			f.close()
			return nil, err
		}
		f.hosts = append(f.hosts, h)
	}
	return f, nil
}

// anything lets a simulated host run what it is told: nothing is really run.
type anything struct{}

func (anything) Check(*wire.Job) error { return nil }

// timing is that of a real host, but for the wait of polls.
func (f *fleet) timing() client.Timing { return client.Timing{Wait: f.order.PollWait} }

// connect begins to connect all hosts, so many a second, and returns when the last has begun.
func (f *fleet) connect(ctx context.Context, rate float64) error {
	run, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	begin := time.Now()
	for i, h := range f.hosts {
		due := begin.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return err
			}
		}
		f.running.Go(func() { h.run(run) })
	}
	return nil
}

// close disconnects all hosts, and removes their state: the run is over, also where the parent has ended before.
func (f *fleet) close() {
	if f.cancel != nil {
		f.cancel()
	}
	f.running.Wait()
	f.runner.Stop()
	for i, h := range f.hosts {
		err := h.agent.Close()
		if err = errors.Join(err, os.RemoveAll(f.dir(f.order.From+i))); err != nil {
			f.errors.add("a host's state", err)
		}
	}
	os.Remove(f.order.Dir) //nolint:errcheck // other workers may have their hosts there
}

// dir is the state directory of the host with a number.
func (f *fleet) dir(i int) string { return filepath.Join(f.order.Dir, f.order.Identity.Host(i)) }

func transportIndex(tr client.Transport) int {
	if tr == client.Poll {
		return 1
	}
	return 0
}

// moved notes that a host has changed its transport; "" is none.
func (f *fleet) moved(from, to client.Transport) {
	if from != "" {
		f.up[transportIndex(from)].Add(-1)
	}
	if to != "" {
		f.up[transportIndex(to)].Add(1)
	}
}

// done takes the trace of an execution of which all is stored, or which was never started.
func (f *fleet) done(t *trace) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.traces = append(f.traces, t)
}

// ended is told of each end of a session or attempt.
func (f *fleet) ended(e client.Ended) {
	what := "attempt by " + string(e.Transport)
	if e.Opened {
		what = "session by " + string(e.Transport)
	}
	f.errors.add(what+": "+e.Fault, e.Err)
}

func (f *fleet) counts() *Counts {
	c := &Counts{
		Enrolled: f.enrolled.Load(),
		Up:       map[client.Transport]int64{client.Socket: f.up[0].Load(), client.Poll: f.up[1].Load()},
		Leased:   f.reached[leased].Load(), Accepted: f.reached[accepted].Load(), Started: f.reached[started].Load(),
		Finished: f.reached[finished].Load(), Stored: f.reached[stored].Load(), Errors: f.errors.total.Load(),
		Memory: memory(),
	}
	c.Polls, c.Waits, c.Waited = f.polls.count.Load(), f.polls.waits.Load(), f.polls.waited.Load()
	return c
}

// collect gives what was seen, and forgets the job's traces.
func (f *fleet) collect(o collectOrder) (*collected, error) {
	c := &collected{Errors: f.errors.list()}
	var recorders [steps]report.Recorder
	f.mu.Lock()
	rest := f.traces[:0]
	for _, t := range f.traces {
		if o.Job == "" || !strings.HasPrefix(t.Execution, o.Job+".") {
			rest = append(rest, t)
			continue
		}
		for i, at := range t.At {
			if at != 0 {
				recorders[i].Add(time.Duration(at - o.Submitted))
			}
		}
	}
	f.traces = rest
	f.mu.Unlock()
	for i := range recorders {
		var err error
		if c.Steps[i], err = recorders[i].MarshalBinary(); err != nil {
			return nil, err
		}
	}
	return c, f.polls.collect(c)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ended while waiting: %w", context.Cause(ctx))
	}
}
