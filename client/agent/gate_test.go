package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
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
	cfg    Config // what newAgent adds to

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

	news chan struct{} // something was recorded
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
		t: t, dir: t.TempDir(), runner: newMemRunner(), jobs: map[string]*job{}, credit: 1 << 20, news: make(chan struct{}, 1),
		cfg: Config{Policy: always{}, BootID: "boot-1"},
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
		Job: jobID, Host: host, State: queue.Queued, Lane: queue.Lane(j.spec.Lane), DeliverUntil: time.Now().Add(24 * time.Hour),
	}}
	g.jobs[string(id)] = j
	g.order = append(g.order, string(id))
	return string(id)
}

// connect begins a session: hello, welcome, and what is to be delivered.
func (g *gate) connect() {
	g.t.Helper()
	g.cut()
	hello := g.agent.Hello()
	frame, err := wire.Encode(&hello)
	if err == nil {
		_, err = wire.Decode(frame)
	}
	if err != nil {
		g.t.Fatalf("hello: %v", err)
	}
	g.mu.Lock()
	g.dead, g.lose, g.loseNext = false, g.loseNext, ""
	g.n++
	w := &wire.Welcome{Session: g.n, N: g.n, Time: time.Now().UnixMilli(), Credit: g.credit}
	claim := &queue.Claim{Generation: hello.Generation, Position: hello.Position}
	for _, id := range g.order {
		j := g.jobs[id]
		var in *queue.InHand
		for _, x := range hello.Executions {
			if x.Execution == id {
				in = &queue.InHand{Execution: queue.ExecutionID(id), Token: x.Token, Seq: x.Seq}
			}
		}
		if ack, tell := j.Hello(claim, in, time.Now()); tell {
			w.Executions = append(w.Executions, wire.Resume{Execution: id, Stored: ack.Stored, Verdict: wire.Verdict(ack.Verdict), Reason: ack.Reason})
		}
	}
	g.mu.Unlock()
	g.agent.Deliver(w)
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.pump.Go(func() { g.run(ctx) })
	g.deliver()
}

// cut ends the session. What is on the way is lost.
func (g *gate) cut() {
	if g.stop != nil {
		g.stop()
		g.pump.Wait()
		g.stop = nil
	}
}

// deliver leases what is queued into free slots, as the store counts them.
func (g *gate) deliver() {
	g.mu.Lock()
	var out []*wire.Job
	used := map[queue.Lane]int{}
	for _, j := range g.jobs {
		if j.State.InFlight() {
			used[j.Lane]++
		}
	}
	for _, id := range g.order {
		j := g.jobs[id]
		if j.State != queue.Queued || used[j.Lane] >= max(g.cfg.Slots[string(j.Lane)], 1) {
			continue
		}
		used[j.Lane]++
		g.tokens++
		g.n++
		j.Lease(fmt.Sprintf("token-%d", g.tokens), time.Now())
		out = append(out, g.message(id))
	}
	g.mu.Unlock()
	for _, m := range out {
		g.agent.Deliver(m)
	}
}

func (g *gate) message(id string) *wire.Job {
	j := g.jobs[id]
	return &wire.Job{
		N: g.n, Execution: id, Token: j.Token, DeliverUntil: j.DeliverUntil.UnixMilli(),
		Time: time.Now().UnixMilli(), Spec: j.spec,
	}
}

// run is a session's way back: events to the store, acks to the agent.
func (g *gate) run(ctx context.Context) {
	for {
		g.mu.Lock()
		credit := g.credit
		g.mu.Unlock()
		unacked := g.agent.Unacked()
		events, err := g.agent.Pull(ctx, credit-unacked, unacked == 0)
		if err != nil {
			return
		}
		g.mu.Lock()
		if on := g.agent.Unacked(); len(events) > 1 || unacked > 0 {
			g.maxRoom = max(g.maxRoom, on-credit)
		}
		lose := g.lose
		if g.dead || g.hold || lose == "request" {
			g.dead = g.dead || lose == "request"
			g.mu.Unlock()
			continue
		}
		acks := g.recordLocked(events)
		g.dead = lose == "answer"
		g.mu.Unlock()
		if lose == "answer" {
			continue
		}
		for _, a := range acks {
			g.agent.Deliver(a)
		}
		g.deliver()
	}
}

func (g *gate) recordLocked(events []wire.Event) []*wire.Ack {
	var ids []string
	by := map[string][]queue.Event{}
	for _, e := range events {
		frame, err := wire.Encode(e)
		if err == nil {
			_, err = wire.Decode(frame)
		}
		if err != nil {
			g.t.Errorf("the agent sent what no gateway takes: %v", err)
		}
		id, _ := e.Ref()
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		by[id] = append(by[id], eventOf(e))
	}
	g.events = append(g.events, events...)
	defer signal(g.news)
	var acks []*wire.Ack
	for _, id := range ids {
		j := g.jobs[id]
		ack, appended := j.Record(by[id], g.agent.journal.gen, time.Now())
		for _, e := range appended {
			if e.Kind == queue.EventGap {
				j.gaps++
			} else if e.Stream == queue.Stdout {
				j.stdout.Write(e.Data)
			}
		}
		acks = append(acks, &wire.Ack{Execution: id, Stored: ack.Stored, Verdict: wire.Verdict(ack.Verdict), Reason: ack.Reason})
	}
	return acks
}

func eventOf(m wire.Event) queue.Event {
	id, seq := m.Ref()
	e := queue.Event{Execution: queue.ExecutionID(id), Seq: seq}
	switch m := m.(type) {
	case *wire.Accepted:
		e.Kind, e.Token, e.Position = queue.EventAccepted, m.Token, m.Position
	case *wire.Rejected:
		e.Kind, e.Token, e.Reason = queue.EventRejected, m.Token, m.Reason
	case *wire.Started:
		e.Kind = queue.EventStarted
	case *wire.Output:
		e.Kind, e.Data, e.Stream = queue.EventOutput, m.Bytes(), queue.Stdout
		if m.Stream == wire.Stderr {
			e.Stream = queue.Stderr
		}
	case *wire.Gap:
		e.Kind, e.Through, e.Bytes = queue.EventGap, m.Through, m.Bytes
	case *wire.Finished:
		outcome, _ := queue.ParseState(string(m.Outcome))
		e.Kind, e.ExitCode, e.Signal, e.Outcome, e.Reason, e.Dropped = queue.EventFinished, m.ExitCode, m.Signal, outcome, m.Reason, m.Dropped
	}
	return e
}

// cancel asks for the end of an execution, as an operator does.
func (g *gate) cancel(id string) {
	g.mu.Lock()
	asked := g.jobs[id].Cancel("someone", time.Now())
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

// until waits until something is so, outside of a bubble: looked at whenever something was recorded, and now and
// then.
func (g *gate) until(ok func() bool) {
	g.t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-g.news:
		case <-look.C:
		case <-deadline:
			g.t.Fatal("waited in vain")
		}
	}
}
