package queuetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// verbTimeout ends a scenario that hangs, so that it fails instead.
const verbTimeout = 3 * time.Minute

// env is a store under test with the words that scenarios are written in. Its
// helpers end the test on an error that the scenario doesn't ask for.
type env struct {
	testing.TB
	ctx   context.Context
	in    *Instance
	s     queue.Store // in.Store, or that with every verb applied twice
	twice bool
	procs int // processes of agents made, for their nonces

	made         int                    // jobs made, for their ids
	incarnations map[queue.HostID]int64 // of hosts enrolled by the helpers
}

func newEnv(t testing.TB, in *Instance, twice bool) *env {
	ctx, cancel := context.WithTimeout(context.Background(), verbTimeout)
	t.Cleanup(cancel)
	e := &env{TB: t, ctx: ctx, in: in, s: in.Store, twice: twice, incarnations: map[queue.HostID]int64{}}
	if twice {
		e.s = &twiceStore{Store: in.Store, t: t}
	}
	e.sweep() // the service clock begins
	return e
}

// ok ends the test on an error.
func (e *env) ok(err error, doing string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v (code %q)", fmt.Sprintf(doing, args...), err, queue.CodeOf(err))
	}
}

// code fails the test unless the error has the code; "" is no error.
func (e *env) code(err error, want queue.Code, doing string, args ...any) {
	e.Helper()
	if queue.CodeOf(err) != want || (want == "") != (err == nil) {
		e.Errorf("%s: error %v (code %q), want code %q", fmt.Sprintf(doing, args...), err, queue.CodeOf(err), want)
	}
}

// words joins values to one text for same.
func words(vs ...any) string { return strings.TrimSuffix(fmt.Sprintln(vs...), "\n") }

// same compares two values of which %v tells all.
func same[T any](e *env, what string, got, want T) {
	e.Helper()
	if g, w := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want); g != w {
		e.Errorf("%s: %s, want %s", what, g, w)
	}
}

func (e *env) now() time.Time {
	e.Helper()
	now, err := e.s.Now(e.ctx)
	e.ok(err, "Now")
	return now
}

func (e *env) advance(d time.Duration) { e.in.Advance(d) }

// sweep sweeps until nothing is left, with nothing retained by age or size.
func (e *env) sweep() queue.Swept { e.Helper(); return e.sweepKeeping(queue.Retention{}) }

func (e *env) sweepKeeping(r queue.Retention) (sum queue.Swept) {
	e.Helper()
	for range 1000 {
		sw, err := e.s.Sweep(e.ctx, 1000, r)
		e.ok(err, "Sweep")
		sum = addSwept(sum, sw)
		if !sw.More {
			return sum
		}
	}
	e.Fatal("Sweep: there is more after 1000 sweeps")
	return sum
}

func addSwept(a, b queue.Swept) queue.Swept {
	return queue.Swept{
		Lapsed: a.Lapsed + b.Lapsed, Expired: a.Expired + b.Expired, Due: a.Due + b.Due, Skipped: a.Skipped + b.Skipped,
		Lost: a.Lost + b.Lost, Ended: a.Ended + b.Ended, Deleted: a.Deleted + b.Deleted, More: b.More,
	}
}

// pass lets service time pass: the clock moves in steps that a sweep follows.
func (e *env) pass(d time.Duration) (sum queue.Swept) {
	e.Helper()
	for ; d > 0; d -= queue.MaxTick {
		e.advance(min(d, queue.MaxTick)) // a clock that also runs by itself adds nothing to a full tick
		sum = addSwept(sum, e.sweep())
	}
	return sum
}

// enroll makes hosts, each with a key and the label name=<its id>.
func (e *env) enroll(ids ...queue.HostID) {
	e.Helper()
	for _, id := range ids {
		h, err := e.s.Enroll(e.ctx, queue.Enrollment{Host: id, PublicKey: keyOf(string(id)), Labels: map[string]string{"name": string(id)}})
		e.ok(err, "Enroll %s", id)
		e.incarnations[id] = h.Incarnation
	}
}

// keyOf makes a key's 32 bytes from a word.
func keyOf(word string) []byte { return []byte(fmt.Sprintf("%-32.32s", word)) }

// reenroll gives a host another key, and thereby a new incarnation.
func (e *env) reenroll(id queue.HostID) queue.Host {
	e.Helper()
	h := e.host(id)
	n, err := e.s.Enroll(e.ctx, queue.Enrollment{Host: id, PublicKey: keyOf(fmt.Sprint(id, h.Incarnation+1)), Replace: true})
	e.ok(err, "Enroll %s anew", id)
	e.incarnations[id] = n.Incarnation
	return n
}

func (e *env) host(id queue.HostID) queue.Host {
	e.Helper()
	h, err := e.s.Host(e.ctx, id)
	e.ok(err, "Host %s", id)
	return h
}

// newJob is a valid job for hosts that the helpers enrolled.
func (e *env) newJob(hosts ...queue.HostID) queue.NewJob {
	e.Helper()
	e.advance(5 * time.Millisecond) // so that no two jobs are of one age
	e.made++
	var targets []queue.Target
	for _, h := range hosts {
		targets = append(targets, queue.Target{Host: h, Incarnation: e.incarnations[h]})
	}
	script := []byte("echo hello\n")
	return queue.NewJob{
		Job: queue.Job{
			ID: queue.NewJobID(time.Now().Add(time.Duration(e.made) * time.Millisecond)), Spec: queue.Spec{Name: "test"}.WithDefaults(), CreatedBy: "ann", Selection: "hosts",
			ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest(script),
		},
		Script: script, Targets: targets,
	}
}

// submit stores a job, all planned. change may adjust it.
func (e *env) submit(hosts []queue.HostID, change ...func(*queue.NewJob)) queue.JobID {
	e.Helper()
	n := e.newJob(hosts...)
	for _, c := range change {
		c(&n)
	}
	j, created, err := e.s.Submit(e.ctx, n)
	e.ok(err, "Submit")
	if !created || j.ID != n.Job.ID {
		e.Fatalf("Submit %s: created %v, id %s", n.Job.ID, created, j.ID)
	}
	return j.ID
}

// queued submits a job for one host and releases it.
func (e *env) queued(host queue.HostID, change ...func(*queue.Spec)) queue.JobID {
	e.Helper()
	return e.queuedAll([]queue.HostID{host}, change...)
}

func (e *env) queuedAll(hosts []queue.HostID, change ...func(*queue.Spec)) queue.JobID {
	e.Helper()
	id := e.submit(hosts, func(n *queue.NewJob) {
		for _, c := range change {
			c(&n.Job.Spec)
		}
	})
	e.expand(id)
	return id
}

func lane(l queue.Lane) func(*queue.Spec) { return func(s *queue.Spec) { s.Lane = l } }
func priority(p int) func(*queue.Spec)    { return func(s *queue.Spec) { s.Priority = p } }
func pickup(d time.Duration) func(*queue.Spec) {
	return func(s *queue.Spec) { s.PickupTimeout = d }
}

// expand releases all of a job.
func (e *env) expand(id queue.JobID) (released int) {
	e.Helper()
	for range 1000 {
		x, err := e.s.Expand(e.ctx, id, "driver", 100)
		e.ok(err, "Expand %s", id)
		released += x.Released
		if x.Busy {
			e.Fatalf("Expand %s: busy for its own driver", id)
		}
		if x.Done {
			return released
		}
	}
	e.Fatalf("Expand %s: not done after 1000 calls", id)
	return 0
}

func (e *env) execution(job queue.JobID, host queue.HostID) queue.Execution {
	e.Helper()
	x, err := e.s.Execution(e.ctx, job, host)
	e.ok(err, "Execution %s of %s", host, job)
	return x
}

// want fails the test unless the execution is in the state.
func (e *env) want(job queue.JobID, host queue.HostID, want queue.State) queue.Execution {
	e.Helper()
	x := e.execution(job, host)
	if x.State != want {
		e.Errorf("execution on %s is %v (%+v), want %v", host, x.State, x.Result, want)
	}
	return x
}

func (e *env) cancel(job queue.JobID, hosts ...queue.HostID) queue.Cancellation {
	e.Helper()
	c, err := e.s.Cancel(e.ctx, job, hosts, "bob")
	e.ok(err, "Cancel %s", job)
	return c
}

// queueOf names the jobs in a host's queue, in order, by their place in jobs.
func (e *env) queueOf(host queue.HostID, jobs ...queue.JobID) string {
	e.Helper()
	xs, err := e.s.HostQueue(e.ctx, host, 1000)
	e.ok(err, "HostQueue %s", host)
	var b strings.Builder
	for _, x := range xs {
		fmt.Fprint(&b, slices.Index(jobs, x.Job), " ")
	}
	return strings.TrimSpace(b.String())
}
