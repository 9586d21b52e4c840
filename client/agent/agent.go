package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// Agent implements client.Peer. Its methods may be called concurrently.
type Agent struct {
	cfg     Config
	nonce   string
	journal *journal

	ctx    context.Context // ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // something may be there to pull

	mu       sync.Mutex // guards the following, and the fields of executions
	clock    gatewayClock
	execs    map[string]*execution // not settled
	order    []*execution          // the same, in order of arrival
	pending  []*wire.Job           // for a slot that isn't free yet
	used     map[string]int        // slots, by lane
	kept     []kept                // settled, output still there; oldest first
	unacked  int64                 // bytes of events on the way
	after    int64                 // number of the last message
	asked    time.Time             // when the first hello since the last welcome was composed; zero = there is none
	lastTurn *execution            // that Pull served last
	timer    *time.Timer           // nil = nothing is due
	dueAt    time.Time
	closed   bool
}

// kept is a settled execution whose output is still on disk.
type kept struct {
	id    string
	bytes int64
	until time.Time
}

// New opens the state directory, finds again what was running, and goes on with it.
// It blocks for disk I/O only.
func New(cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	path := filepath.Join(cfg.Dir, "journal")
	if cfg.Volatile {
		path = ""
	} else if err := makeRoom(cfg.Dir); err != nil {
		return nil, err
	}
	j, err := openJournal(path, cfg.MachineID)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, nonce: newID(), journal: j, wake: make(chan struct{}, 1),
		execs: map[string]*execution{}, used: map[string]int{},
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.recover()
	return a, nil
}

// makeRoom makes the directory of executions. Scripts of other users must be reached through
// it, and through the state directory, but not listed.
func makeRoom(dir string) error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	x := filepath.Join(dir, "x")
	if err := os.MkdirAll(x, mode); err != nil {
		return err
	}
	return errors.Join(os.Chmod(dir, mode), os.Chmod(x, mode))
}

func (a *Agent) dir(execution string) string { return filepath.Join(a.cfg.Dir, "x", execution) }

// Close lets go of all executions, which run on under their supervisors, and
// blocks until no goroutine of the agent is left. Pull is ended by its own context.
func (a *Agent) Close() error {
	a.mu.Lock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	a.cancel()
	a.wg.Wait()
	a.mu.Lock()
	var procs []runner.Process
	for _, e := range a.execs {
		if e.proc != nil {
			procs = append(procs, e.proc)
		}
	}
	a.mu.Unlock()
	var errs []error
	for _, p := range procs {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, a.journal.close())...)
}

// Hello implements client.Peer. It names what is in hand, and then what is settled and kept, the newest first, as
// far as a hello may: a store that has lost its last writes asks for that again.
func (a *Agent) Hello() wire.Hello {
	// Before what is in hand is read: what is journalled later is not proven absent by this hello.
	position := a.journal.position()
	h := wire.Hello{
		AgentVersion: a.cfg.Version, BootID: a.cfg.BootID,
		Generation: a.journal.gen, Position: position, Nonce: a.nonce, Slots: a.cfg.Slots,
	}
	if a.cfg.Facts != nil {
		h.Facts = a.cfg.Facts()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h.After = a.after
	if a.asked.IsZero() {
		a.asked = time.Now()
	}
	size := 0
	name := func(id, token string, seq int64) bool {
		size += beside + len(id) + len(token)
		if len(h.Executions) == wire.MaxInHand || size > helloRoom {
			return false
		}
		h.Executions = append(h.Executions, wire.InHand{Execution: id, Token: token, Seq: seq})
		return true
	}
	for _, over := range []bool{false, true} {
		for _, e := range a.order {
			if (e.phase == ended) == over && !name(e.id, e.token, e.top()) && e.entry.Position > 0 {
				h.Position = min(h.Position, e.entry.Position-1) // what can't be named isn't gone
			}
		}
	}
	for _, k := range slices.Backward(a.kept) {
		if a.execs[k.id] != nil { // taken in hand again; a hello names nothing twice
			continue
		}
		if entry, ok := a.journal.get(k.id); ok && entry.Ended != nil && !name(k.id, entry.Token, entry.Ended.Seq) {
			break
		}
	}
	return h
}

// Unacked implements client.Peer.
func (a *Agent) Unacked() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unacked
}

// Busy implements client.Peer: whether anything isn't settled.
func (a *Agent) Busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.execs) > 0 || len(a.pending) > 0
}

// Scripts gives how many scripts run, or are about to be started.
func (a *Agent) Scripts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, e := range a.execs {
		if e.phase == starting || e.phase == running {
			n++
		}
	}
	return n
}

// addLocked takes an execution in hand.
func (a *Agent) addLocked(e *execution) {
	a.execs[e.id] = e
	a.order = append(a.order, e)
	if e.phase < ended {
		e.slot = true
		a.used[e.lane]++
	}
}

// removeLocked lets go of an execution. It stays in the journal.
func (a *Agent) removeLocked(e *execution) {
	a.clearLocked(e)
	a.freeLocked(e)
	delete(a.execs, e.id)
	a.order = slices.DeleteFunc(a.order, func(o *execution) bool { return o == e })
	a.shareLocked()
	if a.lastTurn == e {
		a.lastTurn = nil
	}
}

// freeLocked gives back an execution's slot, to a job that waits for it if there is one.
func (a *Agent) freeLocked(e *execution) {
	if !e.slot {
		return
	}
	e.slot = false
	if a.used[e.lane]--; a.used[e.lane] == 0 {
		delete(a.used, e.lane)
	}
	for i, job := range a.pending {
		if job.Spec.Lane == e.lane {
			a.pending = slices.Delete(a.pending, i, i+1)
			a.beginLocked(job)
			return
		}
	}
}

// beginLocked takes a job into a free slot.
func (a *Agent) beginLocked(job *wire.Job) {
	e := newExecution(job.Execution, job.Token, job.Spec.Lane)
	e.grace = time.Duration(job.Spec.Grace) * time.Millisecond
	a.addLocked(e)
	a.goLocked(func() { a.begin(e, job) })
}

// goLocked runs f in a goroutine that Close waits for.
func (a *Agent) goLocked(f func()) {
	if !a.closed {
		a.wg.Go(f)
	}
}
