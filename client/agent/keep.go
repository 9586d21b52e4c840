package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

const (
	// stallAfter is how long events may be on the way before they are sent again; it
	// doubles up to stallMax.
	stallAfter = 30 * time.Second
	stallMax   = 5 * time.Minute
	// stallSoon is the same once an ack came that acknowledged nothing new.
	stallSoon = time.Second
	// pruneEvery is how often records are looked through for those past deliver_until.
	pruneEvery = time.Hour
	// pruneMargin is how long after deliver_until a record stays: a store that lost its last
	// writes may release a job anew, and then deliver it until somewhat later.
	pruneMargin = time.Hour
)

// expectLocked says that an ack is due for what is on the way.
func (a *Agent) expectLocked(e *execution) {
	if len(e.out) == 0 {
		e.stallAt = time.Time{}
		return
	}
	if e.stallWait == 0 {
		e.stallWait = stallAfter
	}
	e.stallAt = time.Now().Add(e.stallWait)
	a.armLocked(e.stallAt)
}

// armLocked has tick called at a time, or before.
func (a *Agent) armLocked(at time.Time) {
	if a.closed || !a.dueAt.IsZero() && !at.Before(a.dueAt) {
		return
	}
	a.dueAt = at
	if a.timer == nil {
		a.timer = time.AfterFunc(time.Until(at), a.tick)
		return
	}
	a.timer.Reset(time.Until(at))
}

// tick does what is due.
func (a *Agent) tick() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.wg.Add(1)
	defer a.wg.Done()
	a.dueAt = time.Time{}
	now := time.Now()
	for _, e := range a.order {
		switch {
		case e.stallAt.IsZero():
		case e.stallAt.After(now):
			a.armLocked(e.stallAt)
		default:
			wait := min(2*max(e.stallWait, stallAfter/2), stallMax)
			a.rewindLocked(e, e.acked)
			e.stallWait = wait
		}
		if e.readAt.After(now) {
			a.armLocked(e.readAt)
		}
	}
	var gone []string
	for len(a.kept) > 0 && !a.kept[0].until.After(now) {
		gone = append(gone, a.kept[0].id)
		a.kept = a.kept[1:]
	}
	if len(a.kept) > 0 {
		a.armLocked(a.kept[0].until)
	}
	a.mu.Unlock()
	signal(a.wake)
	for _, id := range gone {
		a.remove(id)
	}
	a.prune()
}

// settle lets go of an execution of which all is stored, or that is to be forgotten.
func (a *Agent) settle(e *execution) {
	a.mu.Lock()
	if a.execs[e.id] != e || e.phase != ended {
		a.mu.Unlock()
		return
	}
	a.removeLocked(e)
	entry := e.entry
	entry.Token = e.token
	drop := e.forget && e.drop
	a.mu.Unlock()
	if entry.Execution == "" { // rejected before it was accepted
		return
	}
	entry.SettledAt = time.Now().UnixMilli()
	if entry.Ended == nil { // forgotten before the store could tell its number
		entry.Ended = e.end
	}
	a.record(&entry, drop)
	if drop {
		a.remove(e.id)
		return
	}
	a.keep(e.id, a.diskUse(entry), time.Now().Add(a.cfg.Keep))
}

// keep remembers that a settled execution's output is still there, and removes the
// oldest such outputs if they are too much together.
func (a *Agent) keep(id string, bytes int64, until time.Time) {
	a.mu.Lock()
	if a.execs[id] != nil { // it was taken in hand again while it was settled, and will be settled again
		a.mu.Unlock()
		return
	}
	a.kept = slices.DeleteFunc(a.kept, func(k kept) bool { return k.id == id }) // or has been, and was settled again
	a.kept = append(a.kept, kept{id, bytes, until})
	total := int64(0)
	for _, k := range a.kept {
		total += k.bytes
	}
	var gone []string
	for total > a.cfg.KeepBytes && len(a.kept) > 0 {
		gone = append(gone, a.kept[0].id)
		total -= a.kept[0].bytes
		a.kept = a.kept[1:]
	}
	if len(a.kept) > 0 {
		a.armLocked(a.kept[0].until)
	}
	a.mu.Unlock()
	for _, id := range gone {
		a.remove(id)
	}
}

func (a *Agent) remove(id string) {
	if err := a.cfg.Runner.Remove(a.dir(id)); err != nil {
		a.cfg.Log.Error("a directory can't be removed", "execution", id, "err", err)
	}
}

// prune forgets what can't be delivered any more.
func (a *Agent) prune() {
	a.mu.Lock()
	now, known := a.clock.now()
	busy := make(map[string]bool, len(a.execs)+len(a.kept))
	for id := range a.execs {
		busy[id] = true
	}
	for _, k := range a.kept {
		busy[k.id] = true
	}
	a.mu.Unlock()
	left := a.journal.drop(func(e Entry) bool {
		return known && e.DeliverUntil+pruneMargin.Milliseconds() < now && (e.SettledAt > 0 || e.Forgotten) && !busy[e.Execution]
	})
	if left {
		a.mu.Lock()
		a.armLocked(time.Now().Add(pruneEvery))
		a.mu.Unlock()
	}
}

// settledAck takes what the store says of an execution that isn't in hand.
func (a *Agent) settledAck(id string, stored int64, v wire.Verdict, reason string) {
	entry, ok := a.journal.get(id)
	switch {
	case !ok:
	case entry.Forgotten && v == wire.VerdictGo:
		// The store forgot that it had said forget. Nothing was started, and nothing will be.
		entry.Forgotten = false
		entry.Ended = &Ended{
			Seq: max(stored, 1) + 1, At: time.Now().UnixMilli(), Outcome: wire.Lost, ExitCode: -1,
			Reason: "the agent had been told to forget it before it was told to start it; it was not started",
		}
		a.record(&entry, true)
		a.revive(entry, stored)
	case entry.Ended == nil:
	case v == wire.VerdictForget && !dropped(reason):
	case v == wire.VerdictForget:
		a.mu.Lock()
		a.kept = slices.DeleteFunc(a.kept, func(k kept) bool { return k.id == id })
		a.mu.Unlock()
		a.remove(id)
	case stored < entry.Ended.Seq:
		a.revive(entry, stored)
	}
}

// revive takes a settled execution in hand again: the store asks for its events after stored.
func (a *Agent) revive(entry Entry, stored int64) {
	e := a.ended(entry)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.execs[e.id] != nil || a.closed {
		return
	}
	a.kept = slices.DeleteFunc(a.kept, func(k kept) bool { return k.id == e.id })
	e.acked, e.sent, e.unread = stored, stored, true
	a.addLocked(e)
	signal(a.wake)
}

// ended makes an execution of an entry whose last event is known.
func (a *Agent) ended(entry Entry) *execution {
	e := newExecution(entry.Execution, entry.Token, entry.Lane)
	e.entry, e.end, e.fixed, e.phase = entry, entry.Ended, true, ended
	e.last = entry.Ended.Seq - 1
	if entry.StartedAt > 0 {
		p, err := a.cfg.Runner.Attach(a.dir(e.id))
		switch {
		case err == nil:
			e.proc = p
		case !errors.Is(err, runner.ErrNoTrace): // it is a gap then
			a.cfg.Log.Warn("the output of a settled script can't be read", "execution", e.id, "err", err)
		}
	}
	return e
}
