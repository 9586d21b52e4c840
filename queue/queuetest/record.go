package queuetest

import (
	"strings"

	"github.com/rexgate/rexgate/queue"
)

// taken makes a host with one delivered job.
func (e *env) taken(host queue.HostID) (*agent, queue.Delivery, queue.JobID) {
	e.Helper()
	e.enroll(host)
	job := e.queued(host)
	a := e.agent(host)
	return a, a.one(), job
}

func recordScenarios() []scenario {
	return []scenario{
		{name: "one by one, each again", run: func(e *env) {
			a, d, job := e.taken("h")
			acc := a.accepted(d)
			a.says("1 go", acc)
			a.says("1 go", acc)
			a.says("2", a.started(d))
			a.says("2", a.started(d))
			for range 2 {
				a.says("3", a.output(d, 3, queue.Stdout, "ab"))
				a.says("3", a.started(d))
				a.says("3 go", acc)
			}
			for range 2 {
				a.says("4", a.finished(d, 4, queue.Failed))
				a.says("4", a.output(d, 3, queue.Stdout, "ab"))
				a.says("4", acc)
			}
			x := e.want(job, "h", queue.Failed)
			same(e, "output", x.Output, queue.OutputInfo{Stdout: 2})
			same(e, "exit code", x.Result.ExitCode, 3)
		}},
		{name: "all at once", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("4", a.accepted(d), a.started(d), a.output(d, 3, queue.Stderr, "x"), a.finished(d, 4, queue.Succeeded))
			e.want(job, "h", queue.Succeeded)
			same(e, "output", string(e.read(job, "h", queue.Stderr)), "x")
		}},
		{name: "beyond the next", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("0", a.started(d)) // as after a store that lost accepted: rewind
			e.want(job, "h", queue.Leased)
			a.says("0", a.finished(d, 9, queue.Succeeded))
			a.says("1 go", a.accepted(d))
			a.says("1", a.output(d, 3, queue.Stdout, "x"))
			a.says("2", a.started(d), a.output(d, 4, queue.Stdout, "x"), a.finished(d, 5, queue.Succeeded))
			x := e.want(job, "h", queue.Running)
			same(e, "output", x.Output, queue.OutputInfo{})
			a.says("5", a.started(d), a.output(d, 3, queue.Stdout, "x"), a.output(d, 4, queue.Stdout, "y"), a.finished(d, 5, queue.Succeeded))
		}},
		{name: "several executions in a batch", run: func(e *env) {
			e.enroll("h")
			for range 3 {
				e.queued("h")
			}
			a := e.agent("h", slots(map[queue.Lane]int{"default": 3}))
			ds := a.take(3)
			stale := ds[2]
			stale.Token = "stale"
			acks, err := a.tryRecord(a.accepted(ds[1]), a.accepted(ds[0]), a.started(ds[1]), a.accepted(stale), a.output(ds[1], 4, queue.Stdout, "x"))
			e.ok(err, "Record")
			want := []queue.Ack{
				{Execution: ds[1].Execution.ID(), Stored: 2, Verdict: queue.VerdictGo},
				{Execution: ds[0].Execution.ID(), Stored: 1, Verdict: queue.VerdictGo},
				{Execution: ds[2].Execution.ID(), Verdict: queue.VerdictForget, Reason: queue.ReasonStaleToken},
			}
			same(e, "acks", acks, want)
		}},
		{name: "empty batch", run: func(e *env) {
			a, _, _ := e.taken("h")
			acks, err := a.tryRecord()
			e.ok(err, "Record of nothing")
			same(e, "acks", len(acks), 0)
		}},
		{name: "another's execution", run: func(e *env) {
			a, d, job := e.taken("a")
			b, other, _ := e.taken("b")
			_, err := a.tryRecord(a.accepted(d), b.accepted(other))
			e.code(err, queue.Forbidden, "Record for another host's execution")
			e.want(job, "a", queue.Leased) // nothing of it is applied
			e.want(other.Execution.Job, "b", queue.Leased)
		}},
		{name: "invalid events", run: func(e *env) {
			a, d, job := e.taken("h")
			acc := a.accepted(d)
			bad := func(change func(v *queue.Event)) queue.Event {
				v := a.output(d, 3, queue.Stdout, "x")
				change(&v)
				return v
			}
			for i, v := range []queue.Event{
				bad(func(v *queue.Event) { v.Seq = 0 }),
				bad(func(v *queue.Event) { v.Seq = -3 }),
				bad(func(v *queue.Event) { v.Seq = 1 }),
				bad(func(v *queue.Event) { v.Kind = "rumour" }),
				bad(func(v *queue.Event) { v.Kind = queue.EventAccepted }),
				bad(func(v *queue.Event) { v.Kind = queue.EventRejected }),
				bad(func(v *queue.Event) { v.Data = nil }),
				bad(func(v *queue.Event) { v.Data = make([]byte, queue.MaxChunk+1) }),
				bad(func(v *queue.Event) { v.Stream = queue.Both }),
				bad(func(v *queue.Event) { v.Kind, v.Through = queue.EventGap, 2 }),
				bad(func(v *queue.Event) { v.Kind, v.Outcome = queue.EventFinished, queue.Expired }),
				bad(func(v *queue.Event) { v.Execution = "nonsense" }),
			} {
				_, err := a.tryRecord(acc, v)
				e.code(err, queue.Invalid, "invalid event %d", i)
			}
			e.want(job, "h", queue.Leased)
		}},
		{name: "unknown executions", run: func(e *env) {
			a, d, job := e.taken("h")
			e.enroll("b")
			elsewhere := e.queued("b")
			acc := a.accepted(d)
			for _, id := range []queue.ExecutionID{
				queue.NewExecutionID(queue.NewJobID(e.now()), "h"),
				queue.NewExecutionID(elsewhere, "h"),
			} {
				v := acc
				v.Execution = id
				a.says("0 forget unknown", v)
			}
			e.want(job, "h", queue.Leased)
			a.claim.Host = "nobody"
			acc.Execution = queue.NewExecutionID(job, "nobody")
			_, err := a.tryRecord(acc)
			e.code(err, queue.NotFound, "Record for an unknown host")
		}},
		{name: "fenced by incarnation and generation", run: func(e *env) {
			a, d, job := e.taken("h")
			acc := a.accepted(d)
			a.claim.Incarnation++
			_, err := a.tryRecord(acc)
			e.code(err, queue.Superseded, "Record under a coming incarnation")
			a.claim.Incarnation--
			a.says("1 go", acc)
			a.claim.Generation = "gen-2"
			a.says("1 forget other_generation", acc)
			a.says("1 forget other_generation", a.started(d))
			e.want(job, "h", queue.Accepted)
			e.reenroll("h")
			a.claim.Generation = "gen-1"
			_, err = a.tryRecord(a.started(d))
			e.code(err, queue.Superseded, "Record under an older incarnation")
			e.want(job, "h", queue.Lost)
		}},
		{name: "what waited behind a session that was superseded", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("3 go", a.accepted(d), a.started(d), a.output(d, 3, queue.Stdout, "one\n"))
			waits := []queue.Event{a.output(d, 4, queue.Stdout, "two\n"), a.output(d, 5, queue.Stdout, "three\n")}
			// Its power is gone, and what it hadn't synced: it ends the execution after what it remembers.
			after := e.agent("h", inHand(queue.InHand{Execution: d.Execution.ID(), Token: d.Token, Seq: 4}))
			_, err := a.tryRecord(waits...)
			e.code(err, queue.Superseded, "events of the session before, before")
			after.says("4", after.finished(d, 4, queue.Lost))
			_, err = a.tryRecord(waits...)
			e.code(err, queue.Superseded, "events of the session before, after")
			e.want(job, "h", queue.Lost)
			if out := e.read(job, "h", queue.Stdout); string(out) != "one\n" {
				e.Errorf("output %q", out)
			}
		}},
		{name: "cancel races with accepted", run: func(e *env) {
			a, d, job := e.taken("h")
			same(e, "Cancel of a leased one", e.cancel(job), queue.Cancellation{Asked: 1})
			e.want(job, "h", queue.Leased)
			a.says("0 forget cancelled", a.accepted(d))
			x := e.want(job, "h", queue.Cancelled)
			if x.CancelledAt.IsZero() || !strings.Contains(x.Result.Reason, "bob") {
				e.Errorf("cancelled at %v: %+v", x.CancelledAt, x.Result)
			}
			a.says("0 forget cancelled", a.accepted(d)) // the repeated accepted gets the same

			b, d, job := e.taken("i")
			acc := b.accepted(d)
			b.says("1 go", acc)
			same(e, "Cancel of an accepted one", e.cancel(job), queue.Cancellation{Asked: 1})
			b.says("1 cancel", acc)
			b.says("2", b.finished(d, 2, queue.Cancelled))
			if x := e.want(job, "i", queue.Cancelled); !strings.Contains(x.Result.Reason, "bob") {
				e.Errorf("cancelled: %+v", x.Result)
			}
		}},
		{name: "finished in spite of a cancel", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("1 go", a.accepted(d))
			a.says("2", a.started(d))
			e.cancel(job)
			a.says("3", a.finished(d, 3, queue.Succeeded))
			e.want(job, "h", queue.Succeeded) // what happened is told as it was
		}},
		{name: "how it ended", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("1 go", a.accepted(d))
			f := a.finished(d, 2, queue.TimedOut)
			f.ExitCode, f.Signal, f.Reason, f.Dropped = -1, "SIGKILL", strings.Repeat("ä", queue.MaxReason), 12345
			a.says("2", f)
			x := e.want(job, "h", queue.TimedOut)
			same(e, "result", words(x.Result.ExitCode, x.Result.Signal, len(x.Result.Reason), x.Output.Dropped), words(-1, "SIGKILL", queue.MaxReason, 12345))
			j := e.counters(job)
			same(e, "job", words(j.Counters.Done(), j.Counters.Failed(), j.FinishedAt.IsZero()), "1 1 false")
		}},
	}
}

// lateScenarios are about what arrives after the end.
func lateScenarios() []scenario {
	lose := func(e *env) (*agent, queue.Delivery, queue.JobID) {
		a, d, job := e.taken("h")
		a.says("1 go", a.accepted(d))
		a.says("2", a.started(d))
		if c := a.hello(); c.Lost != 1 {
			e.Errorf("a hello with empty hands: %+v", c)
		}
		e.want(job, "h", queue.Lost)
		return a, d, job
	}
	return []scenario{
		{name: "after lost it is kept", run: func(e *env) {
			a, d, job := lose(e)
			a.says("3", a.output(d, 3, queue.Stdout, "late"))
			a.says("3", a.output(d, 5, queue.Stdout, "beyond"))
			a.says("4", a.finished(d, 4, queue.Succeeded))
			a.says("4", a.finished(d, 4, queue.Succeeded))
			x := e.want(job, "h", queue.Lost)
			if x.Late == nil || x.Late.Outcome != queue.Succeeded || x.Result.Outcome != queue.Lost {
				e.Errorf("after a late result: %+v, late %+v", x.Result, x.Late)
			}
			same(e, "output", string(e.read(job, "h", queue.Both)), "late")
			same(e, "counters", nonZero(e.counters(job).Counters), queue.Counters{queue.Lost: 1})
			a.says("4 forget ended", a.output(d, 5, queue.Stdout, "more"))
		}},
		{name: "lost before it was started isn't started", run: func(e *env) {
			a, d, job := e.taken("h")
			acc := a.accepted(d)
			a.says("1 go", acc)
			a.hello()
			e.want(job, "h", queue.Lost)
			a.says("1 forget ended", acc)
			a.says("2", acc, a.started(d)) // but where it was, the rest is kept
			a.says("2", acc)
		}},
		{name: "after another end it is forgotten", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("3", a.accepted(d), a.started(d), a.finished(d, 3, queue.Failed))
			a.says("3 forget ended", a.output(d, 4, queue.Stdout, "x"))
			a.says("3 forget ended", a.finished(d, 4, queue.Succeeded))
			e.want(job, "h", queue.Failed)
			same(e, "output", e.execution(job, "h").Output, queue.OutputInfo{})
		}},
		{name: "lost by its own host", run: func(e *env) {
			a, d, job := e.taken("h")
			f := a.finished(d, 3, queue.Lost)
			f.Reason = "no trace of it after a reboot"
			a.says("3", a.accepted(d), a.started(d), f)
			x := e.want(job, "h", queue.Lost)
			same(e, "reason", x.Result.Reason, f.Reason)
		}},
		{name: "a late cancel finds it ended", run: func(e *env) {
			a, _, job := lose(e)
			same(e, "Cancel", e.cancel(job), queue.Cancellation{})
			a.none()
			e.want(job, "h", queue.Lost)
		}},
	}
}
