package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// retryAfter is the pause before the disk, or a supervisor, is tried again.
const retryAfter = 2 * time.Second

// goFor is how long a go is good for, from when it was asked for. The store gives up an execution that is silent for its
// run_timeout, its grace and 5 minutes more from its acceptance on, so that the answer to that can't be out of date sooner. A
// go that waited for the disk, or in a machine that was stopped, may be: the script would be started beside its
// re-run. One that was asked for again may come late in that time, but is used at once: the disk has just been written.
const goFor = 2 * time.Minute

// age is how long ago t was, by the clock that says more: one stands still while the machine is suspended, the
// other may be set back. One that is set ahead costs a question.
func age(t, now time.Time) time.Duration { return max(now.Sub(t), now.Round(0).Sub(t.Round(0))) }

// staleLocked tells whether a go is too old to start a script on, and has the store asked again then.
func (a *Agent) staleLocked(e *execution) bool {
	if !e.goAhead || age(e.asked, time.Now()) < goFor {
		return false
	}
	a.cfg.Log.Warn("the store's go is too old to start a script on; it is asked again", "execution", e.id)
	e.goAhead, e.asked = false, time.Time{}
	a.rewindLocked(e, 0) // accepted is sent again
	return true
}

// begin takes a delivered job from its start; the goroutine of an execution.
func (a *Agent) begin(e *execution, job *wire.Job) {
	script, err := a.script(job)
	switch bad := (*badScript)(nil); {
	case errors.As(err, &bad):
		a.reject(e, bad.Error())
		return
	case err != nil:
		a.abandon(e, "the script can't be fetched; the job is left to be delivered again", err)
		return
	}
	switch err := a.cfg.Policy.Check(job); {
	case passing(err):
		a.abandon(e, "a job can't be judged now; it is left to be delivered again", err)
		return
	case err != nil:
		a.reject(e, err.Error())
		return
	}
	spec := job.Spec
	spec.Script, spec.ScriptBase64, spec.ScriptURL = "", nil, ""
	a.mu.Lock()
	if e.forget {
		a.removeLocked(e)
		a.mu.Unlock()
		return
	}
	entry := Entry{
		Execution: e.id, Token: e.token, Lane: e.lane, AcceptedAt: time.Now().UnixMilli(),
		DeliverUntil: job.DeliverUntil, Grace: job.Spec.Grace, Spec: &spec, Script: script,
	}
	a.mu.Unlock()
	if err := a.journal.put(&entry, true); err != nil {
		a.abandon(e, "a job can't be journalled; it is left to be delivered again", err)
		return
	}
	a.mu.Lock()
	e.entry, e.phase, e.last = entry, waiting, 1
	a.mu.Unlock()
	signal(a.wake)
	a.await(e)
}

// badScript is a script that isn't what the job says.
type badScript struct{ reason string }

func (e *badScript) Error() string { return e.reason }

// script gives a job's script, checked.
func (a *Agent) script(job *wire.Job) ([]byte, error) {
	s := &job.Spec
	var script []byte
	switch {
	case s.ScriptSize > maxScript:
		return nil, &badScript{fmt.Sprintf("the script has %d bytes, at most %d are taken", s.ScriptSize, maxScript)}
	case s.RunTimeout <= 0:
		return nil, &badScript{"the job has no time limit"}
	case s.ScriptURL == "" && s.Script != "":
		script = []byte(s.Script)
	case s.ScriptURL == "":
		script = s.ScriptBase64
	case a.cfg.Fetch == nil:
		return nil, errors.New("this agent can't fetch scripts")
	default:
		var err error
		if script, err = a.cfg.Fetch(a.ctx, s.ScriptURL, s.ScriptSize); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(script)
	if got := hex.EncodeToString(sum[:]); got != s.ScriptSHA256 {
		return nil, &badScript{fmt.Sprintf("the script's SHA-256 is %s, the job says %.64q: it was changed on the way", got, s.ScriptSHA256)}
	}
	return script, nil
}

// abandon lets go of what wasn't accepted. Its lease lapses.
func (a *Agent) abandon(e *execution, why string, err error) {
	if a.ctx.Err() == nil {
		a.cfg.Log.Error(why, "execution", e.id, "err", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removeLocked(e)
}

// reject ends an execution before it was accepted. It isn't journalled: delivered
// again, it is judged again.
func (a *Agent) reject(e *execution, reason string) {
	a.cfg.Log.Warn("a job was rejected", "execution", e.id, "reason", reason)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endLocked(e, &Ended{Seq: 1, At: time.Now().UnixMilli(), Rejected: true, Reason: cutReason(reason)})
}

// endLocked makes known how an execution ended. It may still be forgotten, or
// acknowledged in advance.
func (a *Agent) endLocked(e *execution, end *Ended) {
	e.end, e.fixed, e.phase = end, true, ended
	e.last = max(e.last, end.Seq-1)
	a.freeLocked(e)
	signal(a.wake)
	if e.forget || e.acked >= end.Seq {
		a.goLocked(func() { a.settle(e) })
	}
}

// await waits for the store's word on an accepted execution.
func (a *Agent) await(e *execution) {
	for {
		a.mu.Lock()
		goAhead, forget, stop := e.goAhead, e.forget, e.stop
		entry := e.entry
		a.mu.Unlock()
		switch {
		case forget:
			if a.forgotten(e, entry) {
				return
			}
			continue
		case stop != nil:
			a.finish(e, &Ended{Seq: runner.FirstSeq, At: time.Now().UnixMilli(), Outcome: wire.Cancelled, ExitCode: -1})
			return
		case goAhead:
			a.start(e)
			return
		}
		select {
		case <-e.wake:
		case <-a.ctx.Done():
			return
		}
	}
}

// forgotten journals that an execution is not to be started under its token, and lets
// go of it; not if it was delivered under another token meanwhile.
func (a *Agent) forgotten(e *execution, entry Entry) bool {
	anew := entry
	entry.Forgotten, entry.Spec, entry.Script = true, nil, nil
	a.mu.Lock()
	entry.Token = e.token
	a.mu.Unlock()
	a.record(&entry, true)
	a.mu.Lock()
	if e.forget {
		a.removeLocked(e)
		a.mu.Unlock()
		return true
	}
	anew.Token, anew.Position = e.token, 0
	a.mu.Unlock()
	if err := a.journal.put(&anew, true); err != nil {
		a.abandon(e, "a job can't be journalled; it is left to be delivered again", err)
		return true
	}
	a.mu.Lock()
	e.entry = anew
	a.mu.Unlock()
	return false
}

// start puts the mark on disk and forks the script.
func (a *Agent) start(e *execution) {
	a.mu.Lock()
	was, entry := e.entry, e.entry
	e.want = roomFor(entry.Spec.OutputLimit)
	a.claimLocked(e)
	spec := runner.Spec{
		Execution: e.id, Script: entry.Script, User: entry.Spec.User, Env: entry.Spec.Env, Dir: entry.Spec.Dir,
		RunTimeout:  time.Duration(entry.Spec.RunTimeout) * time.Millisecond,
		Grace:       time.Duration(entry.Spec.Grace) * time.Millisecond,
		OutputLimit: entry.Spec.OutputLimit, SpoolLimit: e.room, EndAll: a.cfg.EndAll,
	}
	entry.Token = e.token
	a.mu.Unlock()
	entry.StartedAt, entry.Room, entry.Spec, entry.Script = time.Now().UnixMilli(), e.want, nil, nil
	if err := a.journal.put(&entry, true); err != nil {
		if a.ctx.Err() == nil {
			a.cfg.Log.Error("a start can't be journalled; trying again", "execution", e.id, "err", err)
		}
		a.again(e)
		return
	}
	a.mu.Lock()
	halt := a.staleLocked(e) || !e.goAhead || e.forget || e.stop != nil
	if halt {
		e.room, was.Token = 0, e.token
	} else {
		e.entry, e.phase = entry, starting
	}
	a.mu.Unlock()
	if halt { // that came while the mark was written: nothing is started on it
		a.record(&was, true)
		a.await(e)
		return
	}
	p, err := a.cfg.Runner.Start(a.ctx, a.dir(e.id), spec)
	var refused *runner.RefusedError
	switch {
	case err == nil:
		a.follow(e, p, spec.SpoolLimit)
	case a.ctx.Err() != nil: // the next agent finds out what became of it
	case errors.As(err, &refused):
		a.finish(e, &Ended{Seq: runner.FirstSeq, At: time.Now().UnixMilli(), Rejected: true, Reason: cutReason(refused.Reason)})
	default:
		a.cfg.Log.Error("a script couldn't be started", "execution", e.id, "err", err)
		a.finish(e, &Ended{
			Seq: runner.FirstSeq, At: time.Now().UnixMilli(), Outcome: wire.Failed, ExitCode: -1,
			Reason: cutReason("the script couldn't be started: " + plain(err)),
		})
	}
}

// again waits a while, and then for the store's word as it is then: it may be cancel by now.
func (a *Agent) again(e *execution) {
	if pause(a.ctx, retryAfter) {
		a.await(e)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// finish journals and reports the end.
func (a *Agent) finish(e *execution, end *Ended) {
	a.mu.Lock()
	entry := e.entry
	entry.Token = e.token
	a.mu.Unlock()
	entry.Ended, entry.Spec, entry.Script = end, nil, nil
	// What ended on disk needs no sync here: it is found there again.
	a.record(&entry, entry.StartedAt == 0)
	a.mu.Lock()
	defer a.mu.Unlock()
	e.entry = entry
	a.endLocked(e, end)
}

// record journals what is also known otherwise: its failure is told, and costs
// nothing but a repetition after a crash.
func (a *Agent) record(entry *Entry, sync bool) {
	if err := a.journal.put(entry, sync); err != nil && !errors.Is(err, errJournalClosed) {
		a.cfg.Log.Error("the journal can't be written", "execution", entry.Execution, "err", err)
	}
}

func cutReason(s string) string {
	if len(s) <= wire.MaxReason {
		return s
	}
	n := wire.MaxReason
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
