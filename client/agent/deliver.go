package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// Deliver implements client.Peer.
func (a *Agent) Deliver(m wire.Message) {
	switch m := m.(type) {
	case *wire.Welcome:
		if !m.Standby {
			a.welcome(m)
		}
	case *wire.Job:
		a.job(m)
	case *wire.Ack:
		a.ack(m)
	case *wire.Cancel:
		a.mu.Lock()
		a.after = max(a.after, m.N)
		if e := a.execs[m.Execution]; e != nil {
			a.cancelLocked(e, time.Duration(m.Grace)*time.Millisecond)
		}
		a.mu.Unlock()
	}
}

// welcome begins a session: everything that isn't stored is to be sent again.
func (a *Agent) welcome(w *wire.Welcome) {
	a.mu.Lock()
	a.clock.learn(w.Time)
	a.after = w.N
	a.pending = nil // what the session before held comes again
	asked := a.asked
	a.asked = time.Time{}
	for _, e := range a.order {
		a.rewindLocked(e, e.acked)
		e.stallWait = 0
		e.unread = false // what is said of it now, is said of the token in the hello
	}
	a.mu.Unlock()
	for i := range w.Executions {
		a.resume(&w.Executions[i], asked)
	}
	signal(a.wake)
}

// resume goes on with an execution as the store sees it, which was asked for that by a hello.
func (a *Agent) resume(r *wire.Resume, asked time.Time) {
	a.mu.Lock()
	e := a.execs[r.Execution]
	if e == nil {
		a.mu.Unlock()
		a.settledAck(r.Execution, r.Stored, r.Verdict, r.Reason)
		return
	}
	fix := e.fixLocked(r.Stored)
	e.asked = asked
	if r.Verdict != wire.VerdictForget {
		a.rewindLocked(e, r.Stored)
	}
	act := a.verdictLocked(e, r.Verdict, r.Reason)
	a.mu.Unlock()
	if fix != nil {
		a.record(fix, false)
	}
	act()
}

// ack takes what the store says of an execution's events.
func (a *Agent) ack(m *wire.Ack) {
	a.mu.Lock()
	e := a.execs[m.Execution]
	if e == nil {
		a.mu.Unlock()
		a.settledAck(m.Execution, m.Stored, m.Verdict, m.Reason)
		return
	}
	if e.unread || m.Token != "" && m.Token != e.token {
		a.mu.Unlock() // the answer to the token before
		return
	}
	fix := e.fixLocked(m.Stored)
	if m.Verdict != wire.VerdictForget {
		a.storedLocked(e, m.Stored)
	}
	act := a.verdictLocked(e, m.Verdict, m.Reason)
	a.mu.Unlock()
	if fix != nil {
		a.record(fix, false)
		signal(a.wake)
	}
	act()
}

// storedLocked takes note of how far an execution is stored.
func (a *Agent) storedLocked(e *execution, stored int64) {
	switch {
	case stored > e.acked:
		for len(e.out) > 0 && e.out[0].seq <= stored {
			a.unacked -= e.out[0].size
			e.out = e.out[1:]
		}
		e.acked = stored
		e.sent = max(e.sent, stored)
		e.stallWait = 0
		a.expectLocked(e)
		signal(a.wake) // there is room now
		if e.full {
			signal(e.wake) // and on the disk too
		}
	case stored < e.acked:
		a.rewindLocked(e, stored) // the store went back
	case len(e.out) > 0:
		// Either an answer to what was sent twice, or to what came after something that the store
		// doesn't have. If nothing else comes, it was the latter.
		if at := time.Now().Add(stallSoon); at.Before(e.stallAt) {
			e.stallAt = at
			a.armLocked(at)
		}
	}
}

// rewindLocked has all events after stored sent again.
func (a *Agent) rewindLocked(e *execution, stored int64) {
	a.clearLocked(e)
	e.acked, e.sent = stored, stored
	e.turns++
	signal(a.wake)
}

// clearLocked takes an execution's events off the way.
func (a *Agent) clearLocked(e *execution) {
	for _, g := range e.out {
		a.unacked -= g.size
	}
	e.out = nil
	e.stallAt = time.Time{}
}

// verdictLocked obeys a verdict, and gives what is to be done without the lock.
func (a *Agent) verdictLocked(e *execution, v wire.Verdict, reason string) (act func()) {
	switch v {
	case wire.VerdictGo:
		e.goAhead = true
		if e.asked.IsZero() {
			e.asked = time.Now()
		}
		if e.forget && !e.drop && e.phase == waiting {
			e.forget = false // that was for the token before, whose acceptance was on the way too
		}
		signal(e.wake)
	case wire.VerdictCancel:
		a.cancelLocked(e, e.grace)
	case wire.VerdictForget:
		a.cfg.Log.Info("told to forget", "execution", e.id, "reason", reason)
		e.forget, e.drop, e.goAhead = true, dropped(reason), false
		a.clearLocked(e)
		signal(e.wake)
		if e.phase == ended {
			return func() { a.settle(e) }
		}
		return func() {}
	}
	if e.phase == ended && e.fixed && e.acked >= e.end.Seq {
		return func() { a.settle(e) }
	}
	return func() {}
}

// dropped tells whether a forget means the output too. One for a stale token is of a
// store that doesn't know of the acceptance, and will deliver the job again: what was
// started is then told, not started.
func dropped(reason string) bool { return reason != "stale_token" }

func (a *Agent) cancelLocked(e *execution, grace time.Duration) {
	if e.stop == nil || grace < *e.stop {
		e.stop = &grace
	}
	signal(e.wake)
}

// job takes a delivery.
func (a *Agent) job(m *wire.Job) {
	job := *m
	if job.Spec.Lane == "" {
		job.Spec.Lane = "default"
	}
	if job.Execution == "" || strings.ContainsAny(job.Execution, "/\x00") || job.Execution[0] == '.' {
		a.cfg.Log.Error("a job with an unusable id", "execution", job.Execution)
		return
	}
	a.mu.Lock()
	a.clock.learn(job.Time)
	a.after = max(a.after, job.N)
	if e := a.execs[job.Execution]; e != nil {
		a.renewLocked(e, job.Token)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	if entry, ok := a.journal.get(job.Execution); ok {
		switch {
		case entry.Ended != nil:
			entry.Token = job.Token
			a.revive(entry, 0)
			return
		case entry.StartedAt > 0: // it has ended, which couldn't be journalled
			entry.Token = job.Token
			a.reattach(entry, true)
			return
		case entry.Forgotten && entry.Token == job.Token:
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending = slices.DeleteFunc(a.pending, func(p *wire.Job) bool { return p.Execution == job.Execution })
	switch {
	case a.used[job.Spec.Lane] < a.cfg.slots(job.Spec.Lane):
		a.beginLocked(&job)
	case len(a.pending) < maxPending:
		a.pending = append(a.pending, &job)
	default:
		a.cfg.Log.Warn("too many jobs wait for a slot; this one is left to be delivered again", "execution", job.Execution)
	}
}

// renewLocked takes a delivery of what is in hand: under a new token, the store doesn't
// have its acceptance, and is told all of it again. What it said of the token before, go too, is void.
func (a *Agent) renewLocked(e *execution, token string) {
	if e.token == token {
		return
	}
	e.token, e.forget, e.unread = token, false, true
	e.goAhead, e.asked = false, time.Time{}
	a.rewindLocked(e, 0)
}

func ptr[T any](v T) *T { return &v }
