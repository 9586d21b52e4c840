package queuetest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// ended makes a job on a host that ended with so many chunks of output.
func (e *env) ended(host queue.HostID, chunks int, script []byte) queue.JobID {
	e.Helper()
	job := e.submit([]queue.HostID{host}, func(n *queue.NewJob) {
		if script != nil {
			n.Script, n.Job.ScriptSize, n.Job.ScriptSHA256 = script, int64(len(script)), queue.ScriptDigest(script)
		}
	})
	e.expand(job)
	a := e.agent(host)
	d := a.one()
	events := []queue.Event{a.accepted(d), a.started(d)}
	for i := range chunks {
		events = append(events, a.output(d, int64(3+i), queue.Stdout, strings.Repeat("x", queue.MaxChunk)))
	}
	a.record(append(events, a.finished(d, int64(3+chunks), queue.Succeeded))...)
	e.want(job, host, queue.Succeeded)
	return job
}

// outputs tells for each job whether its output is there (o), deleted (-), or
// the job itself is (x).
func (e *env) outputs(host queue.HostID, jobs ...queue.JobID) string {
	e.Helper()
	var b strings.Builder
	for _, j := range jobs {
		x, err := e.s.Execution(e.ctx, j, host)
		switch {
		case queue.CodeOf(err) == queue.NotFound:
			b.WriteByte('x')
		case err != nil:
			e.Fatalf("Execution: %v", err)
		case x.Output.Deleted:
			b.WriteByte('-')
			if got := len(e.read(j, host, queue.Both)); got != 0 {
				e.Errorf("%d bytes are left of deleted output", got)
			}
		default:
			b.WriteByte('o')
		}
	}
	return b.String()
}

func retentionScenarios() []scenario {
	return []scenario{
		{name: "output by age", run: func(e *env) {
			e.enroll("h")
			old := e.ended("h", 1, nil)
			e.advance(time.Hour)
			young := e.ended("h", 1, nil)
			open := e.queued("h")
			e.sweepKeeping(queue.Retention{OutputAge: 2 * time.Hour, RecordAge: 9 * time.Hour})
			same(e, "after 1 h", e.outputs("h", old, young), "oo")
			e.advance(90 * time.Minute)
			e.sweepKeeping(queue.Retention{OutputAge: 2 * time.Hour, RecordAge: 9 * time.Hour})
			same(e, "after 2.5 h", e.outputs("h", old, young), "-o")
			e.want(old, "h", queue.Succeeded)
			if x := e.execution(old, "h"); x.Output.Stdout != queue.MaxChunk || x.Result.Outcome != queue.Succeeded {
				e.Errorf("with its output deleted: %+v", x)
			}
			e.want(open, "h", queue.Queued)
		}},
		{name: "records by age", run: func(e *env) {
			e.enroll("h")
			n := e.newJob("h")
			n.IdempotencyKey, n.Digest = "key", "d"
			_, _, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit")
			e.cancel(n.Job.ID)
			e.expand(n.Job.ID)
			running, waiting := e.queued("h"), e.queued("h")
			a := e.agent("h")
			d := a.running()
			r := queue.Retention{RecordAge: 24 * time.Hour}
			e.advance(23 * time.Hour)
			e.sweepKeeping(r)
			same(e, "after 23 h", e.outputs("h", n.Job.ID), "o")
			e.advance(30 * time.Minute)
			a.finish(d, 3) // age counts from the end
			e.advance(31 * time.Minute)
			e.sweepKeeping(r)
			same(e, "after 24 h", e.outputs("h", n.Job.ID, running), "xo")
			if _, err := e.s.Script(e.ctx, n.Job.ID); queue.CodeOf(err) != queue.NotFound {
				e.Errorf("the script of a deleted job: %v", err)
			}
			for _, j := range e.allJobs() {
				if j.ID == n.Job.ID {
					e.Error("a deleted job is listed")
				}
			}
			e.want(waiting, "h", queue.Expired)
			n.Job.ID = queue.NewJobID(e.now())
			_, created, err := e.s.Submit(e.ctx, n)
			e.ok(err, "Submit with the key of a deleted job")
			same(e, "created", created, true)
			a.says("0 forget unknown", func() queue.Event {
				v := a.finished(d, 3, queue.Succeeded)
				v.Execution = queue.NewExecutionID(queue.NewJobID(e.now()), "h")
				return v
			}())
		}},
		{name: "output by bytes, oldest first", run: func(e *env) {
			e.enroll("h")
			var jobs []queue.JobID
			for range 4 {
				jobs = append(jobs, e.ended("h", 8, nil)) // 64 KiB each
				e.advance(time.Second)
			}
			e.sweepKeeping(queue.Retention{OutputBytes: 1 << 20})
			same(e, "with room for all", e.outputs("h", jobs...), "oooo")
			e.sweepKeeping(queue.Retention{OutputBytes: 160 << 10})
			same(e, "with room for two", e.outputs("h", jobs...), "--oo")
			e.sweepKeeping(queue.Retention{OutputBytes: 1})
			same(e, "with room for none", e.outputs("h", jobs...), "----")
		}},
		{name: "records by bytes, oldest first", run: func(e *env) {
			e.enroll("h")
			var jobs []queue.JobID
			for i := range 4 {
				jobs = append(jobs, e.ended("h", 0, bytes.Repeat([]byte(fmt.Sprintf("%07d\n", i)), 8000))) // 64,000 bytes each
				e.advance(time.Second)
			}
			waiting := e.queued("h")
			e.sweepKeeping(queue.Retention{RecordBytes: 10 << 20})
			same(e, "with room for all", e.outputs("h", jobs...), "oooo")
			e.sweepKeeping(queue.Retention{RecordBytes: 160 << 10})
			same(e, "with room for two", e.outputs("h", jobs...), "xxoo")
			e.sweepKeeping(queue.Retention{RecordBytes: 1})
			same(e, "with room for none", e.outputs("h", jobs...), "xxxx")
			e.want(waiting, "h", queue.Queued) // what hasn't ended stays
			e.agent("h").one()
		}},
		{name: "output goes with its record", run: func(e *env) {
			e.enroll("h")
			job := e.ended("h", 2, nil)
			e.advance(2 * time.Hour)
			e.sweepKeeping(queue.Retention{RecordAge: time.Hour})
			same(e, "job", e.outputs("h", job), "x")
			_, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: "h", Limit: 1})
			e.code(err, queue.NotFound, "Output of a deleted job")
		}},
		{name: "late output of a deleted one", run: func(e *env) {
			a, d, job := e.taken("h")
			a.says("3 go", a.accepted(d), a.started(d), a.output(d, 3, queue.Stdout, "early"))
			a.hello()
			e.want(job, "h", queue.Lost)
			e.advance(2 * time.Hour)
			e.sweepKeeping(queue.Retention{OutputAge: time.Hour})
			same(e, "output", e.outputs("h", job), "-")
			a.says("5", a.output(d, 4, queue.Stdout, "late"), a.finished(d, 5, queue.Failed))
			if x := e.want(job, "h", queue.Lost); x.Late == nil || x.Late.Outcome != queue.Failed || !x.Output.Deleted {
				e.Errorf("after a late result: %+v", x)
			}
			e.advance(2 * time.Hour)
			e.sweepKeeping(queue.Retention{OutputAge: time.Hour, RecordAge: time.Hour})
			a.says("0 forget unknown", a.finished(d, 6, queue.Failed))
		}},
	}
}
