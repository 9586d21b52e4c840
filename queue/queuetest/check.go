package queuetest

import (
	"bytes"
	"maps"
	"slices"

	"github.com/rexgate/rexgate/queue"
)

// check holds everything stored against itself: counters, state bytes, listings
// and queues tell the same of every execution, and Reconcile finds nothing to
// repair.
func (e *env) check() {
	e.Helper()
	queues := map[queue.HostID][]queue.ExecutionID{}
	jobs := e.allJobs()
	for _, j := range jobs {
		for _, x := range e.checkJob(j) {
			if !x.State.Terminal() && x.State != queue.Planned {
				queues[x.Host] = append(queues[x.Host], x.ID())
			}
		}
	}
	open, err := e.s.OpenJobs(e.ctx, 10_000)
	e.ok(err, "OpenJobs")
	for _, j := range jobs {
		if j.Counters[queue.Planned] > 0 && !slices.Contains(open, j.ID) {
			e.Errorf("job %s has planned targets, and OpenJobs leaves it out", j.ID)
		}
	}
	for host, want := range queues {
		e.checkQueue(host, want)
	}
	repairs, err := e.s.Reconcile(e.ctx, 10_000)
	e.ok(err, "Reconcile")
	for _, r := range repairs {
		e.Errorf("Reconcile: %s", r)
	}
}

func (e *env) allJobs() (jobs []queue.JobStatus) {
	e.Helper()
	for after := ""; ; {
		page, next, err := e.s.ListJobs(e.ctx, after, 1000)
		e.ok(err, "ListJobs")
		jobs = append(jobs, page...)
		if next == "" {
			return jobs
		}
		after = next
	}
}

func (e *env) executions(q queue.ExecutionQuery) (xs []queue.Execution) {
	e.Helper()
	q.Limit = 1000
	for {
		page, next, err := e.s.Executions(e.ctx, q)
		e.ok(err, "Executions")
		xs = append(xs, page...)
		if q.After = next; next == "" {
			return xs
		}
	}
}

func (e *env) states(id queue.JobID) []byte {
	e.Helper()
	b, err := e.s.States(e.ctx, id)
	e.ok(err, "States of %s", id)
	return b
}

func (e *env) counters(id queue.JobID) queue.JobStatus {
	e.Helper()
	j, err := e.s.Job(e.ctx, id)
	e.ok(err, "Job %s", id)
	return j
}

func (e *env) checkJob(listed queue.JobStatus) []queue.Execution {
	e.Helper()
	id := listed.ID
	j, bytesOf, xs := e.counters(id), e.states(id), e.executions(queue.ExecutionQuery{Job: id})
	targets := []queue.HostID{}
	if j.Targets > 1 {
		var err error
		targets, err = e.s.Targets(e.ctx, id, 0, queue.MaxTargets)
		e.ok(err, "Targets of %s", id)
	} else if len(xs) == 1 {
		targets = append(targets, xs[0].Host)
	}
	if len(bytesOf) != j.Targets || len(xs) != j.Targets || len(targets) != j.Targets {
		e.Errorf("job %s: %d targets, %d state bytes, %d executions, %d in Targets", id, j.Targets, len(bytesOf), len(xs), len(targets))
		return xs
	}
	sum := queue.Counters{}
	for i, x := range xs {
		sum[x.State]++
		if x.Ordinal != i || queue.State(bytesOf[i]) != x.State || targets[i] != x.Host || x.Job != id {
			e.Errorf("job %s: execution %d has ordinal %d, host %s, state %v; state byte %c, target %s", id, i, x.Ordinal, x.Host, x.State, bytesOf[i], targets[i])
		}
		e.checkExecution(x)
	}
	for _, c := range []queue.Counters{j.Counters, listed.Counters} {
		if !maps.Equal(nonZero(c), sum) {
			e.Errorf("job %s: counters %v, the executions are %v", id, c, sum)
		}
	}
	if j.FinishedAt.IsZero() != (sum.Done() < j.Targets) {
		e.Errorf("job %s: %d of %d done, finished at %v", id, sum.Done(), j.Targets, j.FinishedAt)
	}
	for s := range sum {
		if len(sum) == 1 {
			break // the same list as above
		}
		n := len(e.executions(queue.ExecutionQuery{Job: id, States: []queue.State{s}}))
		if n != sum[s] {
			e.Errorf("job %s: %d executions are listed as %v, want %d", id, n, s, sum[s])
		}
	}
	return xs
}

func nonZero(c queue.Counters) queue.Counters {
	c = maps.Clone(c)
	maps.DeleteFunc(c, func(_ queue.State, n int) bool { return n == 0 })
	return c
}

func (e *env) checkExecution(x queue.Execution) {
	e.Helper()
	if x.Stored > 0 {
		if got := e.execution(x.Job, x.Host); got.State != x.State || got.Stored != x.Stored || got.Ordinal != x.Ordinal || got.Output != x.Output {
			e.Errorf("execution %s is listed as %+v, alone as %+v", x.ID(), x, got)
		}
	}
	if x.State.Terminal() != (x.Result.Outcome == x.State) || x.State.Terminal() != !x.FinishedAt.IsZero() || !x.State.Terminal() && x.Result.Outcome != 0 {
		e.Errorf("execution %s is %v, finished at %v with %+v", x.ID(), x.State, x.FinishedAt, x.Result)
	}
	if (x.Late != nil) && x.State != queue.Lost {
		e.Errorf("execution %s is %v and has a late result", x.ID(), x.State)
	}
	if x.Output.Deleted || x.Stored == 0 && x.Output == (queue.OutputInfo{}) {
		return
	}
	for _, s := range []queue.Stream{queue.Both, queue.Stdout, queue.Stderr} {
		want := map[queue.Stream]int64{queue.Both: x.Output.Stdout + x.Output.Stderr, queue.Stdout: x.Output.Stdout, queue.Stderr: x.Output.Stderr}[s]
		if got := len(e.read(x.Job, x.Host, s)); int64(got) != want {
			e.Errorf("execution %s: %d bytes of stream %d, want %d", x.ID(), got, s, want)
		}
	}
}

// read gives a stream's stored output, and fails the test where its chunks
// don't join.
func (e *env) read(job queue.JobID, host queue.HostID, s queue.Stream) []byte {
	e.Helper()
	var all bytes.Buffer
	var seq int64
	gaps := map[int64]bool{} // all that lie at an offset come again to who asks for what follows
	for {
		chunks, err := e.s.Output(e.ctx, queue.OutputQuery{Job: job, Host: host, Stream: s, Offset: int64(all.Len()), Limit: 64 << 10})
		e.ok(err, "Output of %s", host)
		before := all.Len()
		for _, c := range chunks {
			switch {
			case c.Offset != int64(all.Len()):
				e.Fatalf("Output of %s, stream %d: a chunk at %d after %d bytes", host, s, c.Offset, all.Len())
			case gaps[c.Seq]:
				continue
			case c.Seq <= seq:
				e.Fatalf("Output of %s, stream %d: event %d after %d", host, s, c.Seq, seq)
			case c.Gap > 0 && len(c.Data) == 0:
				gaps[c.Seq] = true
			case s != queue.Both && c.Stream != s || c.Gap != 0 || len(c.Data) == 0:
				e.Fatalf("Output of %s, stream %d: a chunk %+v", host, s, c)
			}
			seq = c.Seq
			all.Write(c.Data)
		}
		if all.Len() == before {
			return all.Bytes()
		}
	}
}

// checkQueue holds HostQueue to the executions that are known, and to its order.
func (e *env) checkQueue(host queue.HostID, want []queue.ExecutionID) {
	e.Helper()
	xs, err := e.s.HostQueue(e.ctx, host, 10_000)
	e.ok(err, "HostQueue of %s", host)
	var got []queue.ExecutionID
	for i, x := range xs {
		got = append(got, x.ID())
		if i == 0 {
			continue
		}
		p := xs[i-1]
		switch {
		case p.State.InFlight() != x.State.InFlight():
			if x.State.InFlight() {
				e.Errorf("HostQueue of %s: %v comes after %v", host, x.State, p.State)
			}
		case x.State.InFlight():
		case queue.CompareLanes(p.Lane, x.Lane) > 0, p.Lane == x.Lane && p.Priority < x.Priority:
			e.Errorf("HostQueue of %s: %s %d comes after %s %d", host, x.Lane, x.Priority, p.Lane, p.Priority)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		e.Errorf("HostQueue of %s: %v, want %v", host, got, want)
	}
}
