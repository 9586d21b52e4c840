package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// recover takes in hand what an earlier agent left.
func (a *Agent) recover() {
	known := map[string]bool{}
	for _, entry := range a.journal.list() {
		known[entry.Execution] = true
		switch {
		case entry.Forgotten:
		case entry.SettledAt > 0:
			until := time.UnixMilli(entry.SettledAt).Add(a.cfg.Keep)
			if entry.StartedAt > 0 && time.Now().Before(until) {
				a.keep(entry.Execution, entry.Ended.Bytes, until)
			} else {
				a.remove(entry.Execution)
			}
		case entry.Ended != nil:
			e := a.ended(entry)
			a.mu.Lock()
			a.addLocked(e)
			a.mu.Unlock()
		case entry.StartedAt > 0:
			a.reattach(entry)
		default:
			e := newExecution(entry.Execution, entry.Token, entry.Lane)
			e.entry, e.phase, e.last = entry, waiting, 1
			e.grace = time.Duration(entry.Grace) * time.Millisecond
			a.mu.Lock()
			a.addLocked(e)
			a.goLocked(func() { a.await(e) })
			a.mu.Unlock()
		}
	}
	slices.SortFunc(a.kept, func(x, y kept) int { return x.until.Compare(y.until) })
	if len(known) > 0 {
		a.mu.Lock()
		a.armLocked(time.Now().Add(pruneEvery))
		a.mu.Unlock()
	}
	if !a.cfg.Volatile {
		a.sweep(known)
	}
}

// reattach finds out what became of a script that was started, or was about to be.
func (a *Agent) reattach(entry Entry) {
	e := newExecution(entry.Execution, entry.Token, entry.Lane)
	e.entry, e.last = entry, 1
	e.grace = time.Duration(entry.Grace) * time.Millisecond
	p, err := a.cfg.Runner.Attach(a.dir(e.id))
	switch {
	case errors.Is(err, runner.ErrNoTrace):
		e.end = lostEnd(2, "the agent ended when it was about to start the script; whether it did isn't known")
	case err != nil:
		e.end = lostEnd(2, "what the script left can't be read: "+err.Error())
	default:
		e.proc = p
		st := p.Status()
		if e.last = st.Last; st.Ended {
			e.end = endOf(st.Exit)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.phase = running
	if e.end == nil {
		a.cfg.Log.Info("a script is still running", "execution", e.id)
		a.addLocked(e)
		a.goLocked(func() { a.follow(e, p) })
		return
	}
	a.cfg.Log.Info("a script has ended meanwhile", "execution", e.id, "outcome", string(e.end.Outcome), "reason", e.end.Reason)
	// What was lost with the host may have been sent before: the next welcome tells.
	e.phase, e.fixed = ended, e.end.Outcome != wire.Lost
	if e.fixed {
		e.entry.Ended = e.end
	}
	a.addLocked(e)
}

// rejoin is reattach for what is delivered again: the store has nothing of it, so that even the
// number of a lost one's last event is certain.
func (a *Agent) rejoin(entry Entry) {
	a.reattach(entry)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.execs[entry.Execution]; e != nil && e.end != nil && !e.fixed {
		e.end.Seq, e.fixed = e.last+1, true
		e.entry.Ended = e.end
	}
	signal(a.wake)
}

func lostEnd(seq int64, reason string) *Ended {
	return &Ended{Seq: seq, At: time.Now().UnixMilli(), Outcome: wire.Lost, ExitCode: -1, Reason: cutReason(reason)}
}

// sweep removes directories that no journal knows of, unless something runs in them.
func (a *Agent) sweep(known map[string]bool) {
	entries, err := os.ReadDir(filepath.Join(a.cfg.Dir, "x"))
	if err != nil {
		a.cfg.Log.Error("the executions' directory can't be read", "err", err)
		return
	}
	for _, d := range entries {
		id := d.Name()
		if known[id] {
			continue
		}
		p, err := a.cfg.Runner.Attach(a.dir(id))
		if err == nil && !p.Status().Ended {
			a.cfg.Log.Warn("a script runs that the journal doesn't know of; it is left alone", "execution", id)
			p.Close() //nolint:errcheck // it was only looked at
			continue
		}
		if err == nil || errors.Is(err, runner.ErrNoTrace) {
			a.remove(id)
		}
	}
}
