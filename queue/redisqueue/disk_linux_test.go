package redisqueue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// onFullDisk submits until the disk of the append-only file is full, and gives what was acknowledged and the error.
func (f *fleet) onFullDisk() (acknowledged []queue.JobID, err error) {
	for range 10_000 {
		n := f.job()
		n.Script = []byte(strings.Repeat("# a long line of a script that needs room\n", 500))
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		_, _, err = f.s.Submit(ctx, n)
		cancel()
		if err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, n.Job.ID)
	}
	f.t.Fatal("the disk is never full")
	return nil, nil
}

// The disk of the append-only file is full. With everysec Redis refuses to write until there is room, and then goes
// on with all that was acknowledged, also over a kill.
func TestDiskFullEverysec(t *testing.T) {
	d := queuetest.NewDisk(t, 4<<20)
	srv := redistest.Start(t, "--dir", d.Dir, "--auto-aof-rewrite-percentage", "0")
	c := new(clock)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL, ClockOffset: c.offset}), 5, numbered)
	first := f.submit()
	jobs, err := f.onFullDisk()
	if queue.CodeOf(err) != queue.Unavailable || err.(*queue.Error).Retry <= 0 || !strings.Contains(err.Error(), "No space left on device") ||
		strings.Contains(err.Error(), "\n") {
		t.Fatalf("Submit on a full disk: %v", err)
	}
	if _, err := f.s.Job(f.ctx, first); err != nil {
		t.Errorf("Job on a full disk: %v", err)
	}
	if _, err := f.s.Record(f.ctx, queue.HostEvents{Host: f.targets[0].Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
		{Execution: queue.NewExecutionID(first, f.targets[0].Host), Seq: 1, Kind: queue.EventAccepted, Token: "t"}}}); queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("Record on a full disk: %v", err)
	}
	done := make(chan struct{})
	go func() { // agents spool meanwhile, and come again
		defer close(done)
		f.all(1)
	}()
	d.Resize(64 << 20)
	<-done
	f.check(first)
	f.durable(srv)
	srv.Restart()
	for _, id := range append(jobs, first) {
		f.must(f.again(func() error { _, err := f.s.Job(f.ctx, id); return err }))
	}
	f.check(first)
	f.swept(srv, c)
}

// With always, Redis ends rather than to acknowledge what it can't write. Nothing acknowledged is lost, and all goes
// on once there is room and it runs again.
func TestDiskFullAlways(t *testing.T) {
	d := queuetest.NewDisk(t, 4<<20)
	srv := redistest.Start(t, "--dir", d.Dir, "--auto-aof-rewrite-percentage", "0", "--appendfsync", "always")
	c := new(clock)
	f := newFleet(t, open(t, redisqueue.Options{URL: srv.URL, ClockOffset: c.offset}), 5, numbered)
	first := f.submit()
	jobs, err := f.onFullDisk()
	if queue.CodeOf(err) != queue.Unavailable || err.(*queue.Error).Retry <= 0 || strings.Contains(err.Error(), "\n") {
		t.Fatalf("Submit on a full disk: %v", err)
	}
	d.Resize(64 << 20)
	srv.Restart()
	for _, id := range append(jobs, first) {
		f.must(f.again(func() error { _, err := f.s.Job(f.ctx, id); return err }))
	}
	f.all(1)
	f.check(first)
	f.swept(srv, c)
}

// durable waits until Redis has written what it acknowledged.
func (f *fleet) durable(srv *redistest.Server) {
	f.t.Helper()
	rdb := srv.Client()
	defer rdb.Close()
	for ok := false; !ok; {
		info, err := rdb.InfoMap(f.ctx, "persistence").Result()
		f.must(err)
		ok = info["Persistence"]["aof_last_write_status"] == "ok" && info["Persistence"]["aof_buffer_length"] == "0"
	}
}

// swept sees that nothing stays of submits that were refused in their middle, an hour later at most.
func (f *fleet) swept(srv *redistest.Server, c *clock) {
	f.t.Helper()
	c.us.Add((2 * time.Hour).Microseconds())
	rdb := srv.Client()
	defer rdb.Close()
	for range 2 { // the first gives up what is abandoned, the second removes it
		f.must(f.again(func() error { _, err := f.s.Sweep(f.ctx, 1000, queue.Retention{}); return err }))
	}
	keys, err := rdb.Keys(f.ctx, "rexgate:job:*").Result()
	f.must(err)
	jobs, err := rdb.HLen(f.ctx, f.s.JobsKey("all")).Result()
	f.must(err)
	pending, err := rdb.HLen(f.ctx, f.s.JobsKey("pending")).Result()
	f.must(err)
	if int64(len(keys)) != jobs || pending != 0 {
		f.t.Errorf("%d jobs, %d keys of jobs, %d submits under way", jobs, len(keys), pending)
	}
}
