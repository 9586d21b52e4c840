package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// gate is a gateway and its store in one, for one agent: the store's rules are
// queue.Held's.
type gate struct {
	t      testing.TB
	dir    string
	runner *memRunner
	cfg    Config        // what newAgent adds to
	ahead  time.Duration // of this host's clock is the gateway's

	agent *Agent
	pump  sync.WaitGroup
	stop  context.CancelFunc // of the session's pump

	mu       sync.Mutex // guards the following
	jobs     map[string]*job
	order    []string
	n        int64
	tokens   int
	credit   int64
	hold     bool   // events stay on the way, unanswered
	lose     string // "request" or "answer" of the next events; then the session is dead
	dead     bool
	loseNext string       // lose of the next session, from its beginning
	events   []wire.Event // as recorded, in order of arrival
	maxRoom  int64        // most that was on the way beyond the credit
}

type job struct {
	queue.Held
	spec   wire.Spec
	stdout strings.Builder
	gaps   int
}

// always allows everything.
type always struct{}

func (always) Check(*wire.Job) error { return nil }

func newGate(t testing.TB) *gate {
	g := &gate{
		t: t, dir: t.TempDir(), runner: newMemRunner(), jobs: map[string]*job{}, credit: 1 << 20,
		cfg: Config{Policy: always{}, BootID: "boot-1"},
	}
	g.runner.starting = func(id string) {
		if g.onDisk(id).StartedAt == 0 {
			t.Errorf("%s is started before its mark is on the disk", id)
		}
	}
	g.newAgent()
	return g
}

func (g *gate) newAgent() {
	g.t.Helper()
	cfg := g.cfg
	cfg.Dir = g.dir
	if cfg.Runner == nil {
		cfg.Runner = g.runner
	}
	a, err := New(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.agent = a
}

// restart ends the agent and begins another on the same directory.
func (g *gate) restart() {
	g.t.Helper()
	g.shut()
	g.newAgent()
}

func (g *gate) shut() {
	g.t.Helper()
	g.cut()
	if err := g.agent.Close(); err != nil {
		g.t.Fatal(err)
	}
}

// end shuts all down.
func (g *gate) end() {
	g.shut()
	g.runner.mu.Lock()
	for _, s := range g.runner.scripts {
		select {
		case <-s.cancel:
		default:
			close(s.cancel)
		}
	}
	g.runner.mu.Unlock()
	g.runner.wg.Wait()
}

// submit queues a job and gives its execution's id.
func (g *gate) submit(script string, change ...func(*wire.Spec)) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := queue.NewExecutionID(queue.JobID(fmt.Sprintf("%026d", len(g.jobs)+1)), "h")
	sum := sha256.Sum256([]byte(script))
	j := &job{spec: wire.Spec{
		Script: script, ScriptSize: int64(len(script)), ScriptSHA256: hex.EncodeToString(sum[:]),
		Lane: "default", RunTimeout: 3_600_000, Grace: 10_000, OutputLimit: 1 << 20,
	}}
	for _, c := range change {
		c(&j.spec)
	}
	jobID, host, _ := id.Split()
	j.Held = queue.Held{Execution: queue.Execution{
		Job: jobID, Host: host, State: queue.Queued, Lane: queue.Lane(j.spec.Lane), DeliverUntil: g.now().Add(24 * time.Hour),
	}}
	g.jobs[string(id)] = j
	g.order = append(g.order, string(id))
	return string(id)
}

// cancel asks for the end of an execution, as an operator does.
func (g *gate) cancel(id string) {
	g.mu.Lock()
	asked := g.jobs[id].Cancel("someone", g.now())
	g.n++
	m := &wire.Cancel{N: g.n, Execution: id, Grace: g.jobs[id].spec.Grace}
	g.mu.Unlock()
	if asked {
		g.agent.Deliver(m)
	}
}

func (g *gate) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

func (g *gate) state(id string) queue.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.jobs[id].State
}

// started checks how often a script was started.
func (g *gate) started(id string, want int) {
	g.t.Helper()
	if n := g.runner.started(id); n != want {
		g.t.Errorf("%s was started %d times, not %d", id, n, want)
	}
}

// is checks an execution's state and output.
func (g *gate) is(id string, want queue.State, stdout string) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.jobs[id]
	if j.State != want || j.stdout.String() != stdout {
		g.t.Errorf("%s is %v (%s), output %q; want %v, %q", id, j.State, j.Result.Reason, j.stdout.String(), want, stdout)
	}
}

// kinds gives the events of an execution as they were recorded.
func (g *gate) kinds(id string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, e := range g.events {
		if x, seq := e.Ref(); x == id {
			all = append(all, fmt.Sprintf("%s/%d", e.Type(), seq))
		}
	}
	return strings.Join(all, " ")
}
