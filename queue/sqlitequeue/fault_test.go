package sqlitequeue_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

func newJob(targets ...queue.Target) queue.NewJob {
	script := []byte("echo hello\n")
	return queue.NewJob{
		Job: queue.Job{
			ID: queue.NewJobID(time.Now()), Spec: queue.Spec{OutputLimit: queue.MaxOutput}.WithDefaults(), CreatedBy: "ann", Selection: "hosts",
			ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest(script),
		},
		Script: script, Targets: targets,
	}
}

// running makes a host that runs a job.
func running(t *testing.T, s *sqlitequeue.Store, host queue.HostID) (record func(...queue.Event) error, id queue.ExecutionID) {
	t.Helper()
	ctx := context.Background()
	h, err := s.Enroll(ctx, queue.Enrollment{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	job := submitTo(t, s, queue.Target{Host: host, Incarnation: h.Incarnation})
	if _, err := s.Expand(ctx, job, "test", 10); err != nil {
		t.Fatal(err)
	}
	c, err := s.Claim(ctx, queue.Claim{Host: host, Incarnation: h.Incarnation, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Lease(ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw", Max: 1, TTL: time.Minute})
	if err != nil || len(f.Deliveries) != 1 {
		t.Fatal(f, err)
	}
	id = queue.NewExecutionID(job, host)
	record = func(events ...queue.Event) error {
		_, err := s.Record(ctx, queue.HostEvents{Host: host, Incarnation: h.Incarnation, Generation: "g", Events: events})
		return err
	}
	if err := record(queue.Event{Execution: id, Seq: 1, Kind: queue.EventAccepted, Token: f.Deliveries[0].Token}); err != nil {
		t.Fatal(err)
	}
	return record, id
}

// TestBound fills the store to its bound: submits are refused first, then
// results, and all goes on once retention has made room.
func TestBound(t *testing.T) {
	ctx := context.Background()
	k := &clock{}
	const bound, perRecord = 16 << 20, 8
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlitequeue.Options{Path: path, MaxBytes: bound, Clock: k.now})
	record, id := running(t, s, "h")
	job, _, _ := id.Split()
	chunk := make([]byte, queue.MaxChunk)
	seq, full := int64(2), int64(0)
	var err error
	for ; err == nil; seq += perRecord {
		if (seq-2)*queue.MaxChunk > 2*bound {
			t.Fatalf("%d bytes of output were taken, and the store is bounded to %d", (seq-2)*queue.MaxChunk, bound)
		}
		if _, _, e := s.Submit(ctx, newJob(queue.Target{Host: "h", Incarnation: 1})); full == 0 && queue.CodeOf(e) == queue.Full {
			full, _, _ = s.Room(ctx)
		} else if full != 0 && queue.CodeOf(e) != queue.Full {
			t.Fatalf("Submit after it was refused: %v", e)
		}
		events := make([]queue.Event, perRecord)
		for i := range events {
			events[i] = queue.Event{Execution: id, Seq: seq + int64(i), Kind: queue.EventOutput, Stream: queue.Stdout, Data: chunk}
		}
		err = record(events...)
	}
	seq -= perRecord
	used, limit, e := s.Room(ctx)
	if queue.CodeOf(err) != queue.Unavailable || e != nil || limit != bound || used > bound || used < bound/100*99 || full > bound/100*82 || full < bound/4*3 {
		t.Fatalf("Record: %v; %d of %d bytes are used, %v; submits were refused at %d", err, used, limit, e, full)
	}
	x, err := s.Execution(ctx, job, "h")
	if err != nil || x.Stored != seq-1 || x.Output.Stdout != (seq-2)*queue.MaxChunk {
		t.Fatalf("nothing half-applied: stored %d of %d, %d bytes, %v", x.Stored, seq-1, x.Output.Stdout, err)
	}
	// A small result may still fit where output didn't; room comes with retention.
	if err := s.DeleteHost(ctx, "h"); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		sw, err := s.Sweep(ctx, 1000, queue.Retention{OutputBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		more = sw.More
	}
	if used, _, err = s.Room(ctx); err != nil || used > bound/4 {
		t.Fatalf("after retention %d bytes are used, %v", used, err)
	}
	running(t, s, "other")
	if repairs, err := s.Reconcile(ctx, 1_000_000); err != nil || len(repairs) > 0 {
		t.Errorf("Reconcile: %v, %v", repairs, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkIntegrity(t, path)
}

// TestSubmitBroken breaks a large submit off between its transactions: nothing
// of it is to be seen, and it can come again.
func TestSubmitBroken(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var steps atomic.Int64
	s := open(t, sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "store.db"), Clock: func() time.Time {
		// Called once for each transaction, and elsewhere.
		if steps.Load() > 0 && steps.Add(-1) == 0 {
			cancel()
		}
		return time.Now()
	}})
	var targets []queue.Target
	f := &fleet{s: s}
	f.each(t, 2100, func(i int) error {
		_, err := s.Enroll(context.Background(), queue.Enrollment{Host: queue.HostID(fmt.Sprint("host-", i))})
		return err
	})
	for i := range 2100 {
		targets = append(targets, queue.Target{Host: queue.HostID(fmt.Sprint("host-", i)), Incarnation: 1})
	}
	n := newJob(targets...)
	n.IdempotencyKey, n.Digest = "key", "digest"
	steps.Store(2)
	if _, _, err := s.Submit(ctx, n); queue.CodeOf(err) != queue.Unavailable {
		t.Fatalf("Submit that was broken off: %v", err)
	}
	ctx = context.Background()
	if _, err := s.Job(ctx, n.Job.ID); queue.CodeOf(err) != queue.NotFound {
		t.Errorf("Job: %v", err)
	}
	if ids, err := s.OpenJobs(ctx, 10); err != nil || len(ids) != 0 {
		t.Errorf("OpenJobs: %v, %v", ids, err)
	}
	if jobs, _, err := s.ListJobs(ctx, "", 10); err != nil || len(jobs) != 0 {
		t.Errorf("ListJobs: %v, %v", jobs, err)
	}
	j, created, err := s.Submit(ctx, n)
	if err != nil || !created || j.Targets != 2100 {
		t.Fatalf("Submit again: %v, created %v, %d targets", err, created, j.Targets)
	}
	for more := true; more; { // what is left of the first goes
		sw, err := s.Sweep(ctx, 1000, queue.Retention{})
		if err != nil {
			t.Fatal(err)
		}
		more = sw.More
	}
	states, err := s.States(ctx, n.Job.ID)
	if err != nil || len(states) != 2100 {
		t.Errorf("States: %d, %v", len(states), err)
	}
	if n := s.Count(t, "execution"); n != 2100 {
		t.Errorf("%d executions are left", n)
	}
	if n := s.Count(t, "job"); n != 1 {
		t.Errorf("%d jobs are left", n)
	}
}
