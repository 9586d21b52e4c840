package agent

import (
	"time"

	"github.com/rexgate/rexgate/client/runner"
)

// trimEvery is how often what is stored is removed from the disk while its script runs: it stays there for so
// long at least, in case the store goes back, and at most twice as long.
const trimEvery = 10 * time.Minute

// follow follows a script to its end. room is what it may have on disk, as its supervisor knows it; 0 = unknown.
func (a *Agent) follow(e *execution, p runner.Process, room int64) {
	f := follower{a: a, e: e, p: p, room: room, retry: time.NewTimer(time.Hour)}
	defer f.retry.Stop()
	var trim <-chan time.Time
	if sp, ok := p.(runner.Spooled); ok {
		f.spooled = sp
		t := time.NewTicker(trimEvery)
		defer t.Stop()
		trim = t.C
	}
	for {
		if ended := f.look(); ended {
			return
		}
		select {
		case <-p.Changed():
		case <-e.wake:
		case <-f.retry.C:
		case <-trim:
			f.trim(f.mark)
			f.mark = f.acked
		case <-a.ctx.Done():
			return // Close lets go of it
		}
	}
}

// follower is what the goroutine that follows a script knows.
type follower struct {
	a       *Agent
	e       *execution
	p       runner.Process
	spooled runner.Spooled // nil = it has no room to be managed
	told    *time.Duration // the cancel that was passed on
	room    int64          // that was passed on
	acked   int64          // events that are stored
	mark    int64          // the same, when it was last looked at for trimming
	trimmed int64          // removed from the disk, as far as that goes by segments
	retry   *time.Timer
}

// look brings the execution up to what the script does, and tells the script's supervisor what it should know.
func (f *follower) look() (ended bool) {
	a, e := f.a, f.e
	st := f.p.Status()
	a.mu.Lock()
	e.proc = f.p
	if e.phase < running {
		e.phase = running
	}
	if !st.Ended { // else all that is left is made known at once, so that it can travel together
		e.last = max(e.last, st.Last)
		signal(a.wake)
	}
	e.full = st.Full
	stop, room := e.stop, e.room
	f.acked = e.acked
	a.mu.Unlock()
	if st.Ended {
		if err := f.p.Close(); err != nil {
			a.cfg.Log.Warn("letting go of a script failed", "execution", e.id, "err", err)
		}
		a.finish(e, endOf(st.Exit))
		return true
	}
	if stop != nil && (f.told == nil || *stop < *f.told) {
		if f.passed("a cancel", f.p.Cancel(*stop)) {
			f.told = stop
		}
	}
	if f.spooled == nil || room == 0 {
		return false
	}
	if st.Full && f.acked > f.trimmed {
		f.trim(f.acked)
		f.room = 0 // it is told again, so that its supervisor looks again
	}
	if room != f.room && f.passed("its room on disk", f.spooled.Allow(room)) {
		f.room = room
	}
	return false
}

// passed takes the result of telling a supervisor something.
func (f *follower) passed(what string, err error) bool {
	if err != nil {
		f.a.cfg.Log.Error("a supervisor couldn't be told something; trying again", "execution", f.e.id, "what", what, "err", err)
		f.retry.Reset(retryAfter)
	}
	return err == nil
}

// trim removes what is stored from the disk.
func (f *follower) trim(through int64) {
	if through <= f.trimmed {
		return
	}
	if err := f.spooled.Trim(through); err != nil {
		f.a.cfg.Log.Error("stored output can't be removed; trying again", "execution", f.e.id, "err", err)
		f.retry.Reset(retryAfter)
		return
	}
	f.trimmed = through
}
