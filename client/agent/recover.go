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
			// No later than now: the clock may have been set back since.
			until := time.UnixMilli(min(entry.SettledAt, time.Now().UnixMilli())).Add(a.cfg.Keep)
			if time.Now().Before(until) {
				a.keep(entry.Execution, a.diskUse(entry), until)
			} else {
				a.remove(entry.Execution)
			}
		case entry.Ended != nil:
			e := a.ended(entry)
			a.mu.Lock()
			a.addLocked(e)
			a.mu.Unlock()
		case entry.StartedAt > 0:
			a.reattach(entry, false)
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
	a.mu.Lock() // what is kept may be looked through already
	slices.SortFunc(a.kept, func(x, y kept) int { return x.until.Compare(y.until) })
	if len(a.kept) > 0 {
		a.armLocked(a.kept[0].until)
	}
	if len(known) > 0 {
		a.armLocked(time.Now().Add(pruneEvery))
	}
	a.mu.Unlock()
	if !a.cfg.Volatile {
		a.sweep(known)
	}
}

// reattach finds out what became of a script that was started, or was about to be. anew says that it was delivered
// again: the store has nothing of it.
func (a *Agent) reattach(entry Entry, anew bool) {
	e := newExecution(entry.Execution, entry.Token, entry.Lane)
	e.entry, e.last, e.phase, e.told = entry, 1, running, anew
	e.grace = time.Duration(entry.Grace) * time.Millisecond
	e.want = entry.Room
	if e.want == 0 { // started by an agent that didn't ask
		e.want = roomFor(0)
	}
	a.mu.Lock()
	if a.execs[e.id] != nil || a.closed {
		a.mu.Unlock()
		return
	}
	a.addLocked(e)
	a.claimLocked(e)
	a.mu.Unlock()
	err := a.attach(e)
	if err == nil {
		return
	}
	a.cfg.Log.Warn("what became of a script can't be found out now; trying again", "execution", e.id, "err", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goLocked(func() {
		for err != nil && pause(a.ctx, retryAfter) {
			err = a.attach(e)
		}
	})
}

// attach takes in hand what there is of a script. An error says that it can't be found out now.
func (a *Agent) attach(e *execution) error {
	p, err := a.cfg.Runner.Attach(a.dir(e.id))
	var end *Ended
	last := int64(1)
	switch {
	case errors.Is(err, runner.ErrNoTrace):
		end = lostEnd(2, "the agent ended when it was about to start the script; whether it did isn't known")
	case err != nil:
		return err
	default:
		st := p.Status()
		if last = st.Last; st.Ended {
			end = endOf(st.Exit)
		}
	}
	a.mu.Lock()
	e.proc, e.last = p, last
	if end == nil {
		defer a.mu.Unlock()
		a.cfg.Log.Info("a script is still running", "execution", e.id)
		a.goLocked(func() { a.follow(e, p, 0) })
		return nil
	}
	a.cfg.Log.Info("a script has ended meanwhile", "execution", e.id, "outcome", string(end.Outcome), "reason", end.Reason)
	e.end, e.phase = end, ended
	var fix *Entry
	switch {
	case end.Outcome != wire.Lost:
		e.fixed, e.entry.Ended = true, end
	case e.told:
		fix = e.fixLocked(e.acked)
	default: // What was lost with the host may have been sent before: what the store has tells.
	}
	a.freeLocked(e)
	if e.forget {
		a.goLocked(func() { a.settle(e) })
	}
	a.mu.Unlock()
	if fix != nil {
		a.record(fix, false)
	}
	signal(a.wake)
	return nil
}

// fixLocked takes note of what the store has of an execution. Where it makes the number of the last event certain, that
// is to be journalled: the event follows what is stored, and what is left on disk.
func (e *execution) fixLocked(stored int64) (fix *Entry) {
	e.told = true
	if e.end == nil || e.fixed {
		return nil
	}
	e.last = max(e.last, stored)
	e.end.Seq = e.last + 1
	e.fixed, e.entry.Ended = true, e.end
	return ptr(e.entry)
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
