package redisqueue_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// A failover takes a job's commit record while its targets are being released: nobody knows of it, and its executions stood
// before those of all other jobs of their hosts. What a host may be given next is tried as often as leases lapse.
func TestCommitLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fresh bool // the gateway hasn't seen the job before
		open  bool // its submit is still on record as under way
	}{{"by a gateway that released it", false, false}, {"by another gateway", true, false}, {"while it is being submitted", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			clk, url := new(clock), redistest.Start(t).URL
			f := newFleet(t, open(t, redisqueue.Options{URL: url, ClockOffset: clk.offset}), 3, numbered)
			lost, kept := f.submit(), f.submit()
			rdb := f.s.Client()
			f.must(rdb.HDel(f.ctx, "rexgate:{jobs}:all", string(lost)).Err())
			for _, index := range []string{"open", "live"} {
				f.must(rdb.ZRem(f.ctx, "rexgate:{jobs}:"+index, string(lost)).Err())
			}
			if c.open {
				// {nonce, attempt}, as begin.lua has it: an attempt before the one that wrote the targets.
				f.must(rdb.HSet(f.ctx, "rexgate:{jobs}:pending", string(lost), "\x92\xa5nonce\x01").Err())
			}
			if c.fresh {
				f.s = open(t, redisqueue.Options{URL: url, ClockOffset: clk.offset})
			}
			target := f.targets[0]
			session := f.claim(target)
			var got queue.JobID
			for range 5 {
				l, err := f.s.Lease(f.ctx, queue.Fetch{Host: target.Host, Session: session.Session, Gateway: "gw", Max: 1, TTL: time.Second})
				f.must(err)
				for _, d := range l.Deliveries {
					got = d.Execution.Job
					if _, err := f.s.Script(f.ctx, got); got == lost && queue.CodeOf(err) != queue.NotFound {
						t.Errorf("the script of the lost job: %v", err)
					}
				}
				if got == kept {
					break
				}
				clk.us.Add(queue.MaxTick.Microseconds())
				_, err = f.s.Sweep(f.ctx, 1000, queue.Retention{})
				f.must(err)
			}
			if got != kept {
				t.Fatalf("after five leases the host got %q, want %s", got, kept)
			}
			lines, err := f.s.Reconcile(f.ctx, 1000)
			if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "its record is lost") {
				t.Errorf("Reconcile says %q, %v", lines, err)
			}
			f.must(f.work(f.targets[1], 1))
			f.reconciled()
			if n, err := rdb.HLen(f.ctx, "rexgate:{jobs}:pending").Result(); err != nil || n != 0 {
				t.Errorf("%d submits are under way, %v", n, err)
			}
			for p := range redisqueue.Partitions {
				if there, err := rdb.HExists(f.ctx, f.s.Key(p, "d"), "s"+string(lost)).Result(); err != nil || there {
					t.Errorf("partition %d still has the job, %v", p, err)
				}
			}
		})
	}
}

// A failover takes the releases of a job just before it is closed: it stays open, and its targets are released again.
func TestReleasesLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, open(t, redisqueue.Options{URL: redistest.Start(t).URL}), 3, numbered)
	n := f.job()
	_, _, err := f.s.Submit(f.ctx, n)
	f.must(err)
	f.must(f.s.CloseReleased(f.ctx, n.Job.ID)) // of the releases before it nothing is left
	if ids, err := f.s.OpenJobs(f.ctx, 10); err != nil || len(ids) != 1 {
		t.Errorf("open jobs: %v, %v", ids, err)
	}
	f.repairedOnce("3 planned executions were to be released by nobody")
	f.expand(n.Job.ID)
	for _, target := range f.targets {
		f.must(f.work(target, 1))
	}
	f.check(n.Job.ID)
}
