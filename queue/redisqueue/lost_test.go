package redisqueue_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// partKeys are the keys of a partition, as they were.
type partKeys struct {
	f    *fleet
	p    int
	dump map[string]string
}

func (f *fleet) keysOf(p int) (keys []string) {
	f.t.Helper()
	var mu sync.Mutex // ForEachMaster calls in parallel
	f.must(f.s.Client().(*redis.ClusterClient).ForEachMaster(f.ctx, func(ctx context.Context, node *redis.Client) error {
		list, err := node.Keys(ctx, f.s.Key(p, "*")).Result()
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, list...)
		return err
	}))
	return keys
}

// keep remembers a partition, for back to bring it back to: as a failover of its master to a replica would that had no more.
func (f *fleet) keep(p int) *partKeys {
	f.t.Helper()
	k := &partKeys{f: f, p: p, dump: make(map[string]string)}
	for _, key := range f.keysOf(p) {
		v, err := f.s.Client().Dump(f.ctx, key).Result()
		f.must(err)
		k.dump[key] = v
	}
	return k
}

func (k *partKeys) back() {
	k.f.t.Helper()
	for _, key := range k.f.keysOf(k.p) {
		k.f.must(k.f.s.Client().Del(k.f.ctx, key).Err())
	}
	for key, v := range k.dump {
		k.f.must(k.f.s.Client().Restore(k.f.ctx, key, 0, v).Err())
	}
}

const lostPart, otherPart = 20, 90

// torn is a fleet of two partitions on a cluster, half of it in the one that will go back.
func torn(t *testing.T, url string, c *clock) *fleet {
	here, elsewhere := inPartition(lostPart), inPartition(otherPart)
	return newFleet(t, open(t, redisqueue.Options{URL: url, ClockOffset: c.offset}), 6, func(i int) queue.HostID {
		if i < 3 {
			return here(i)
		}
		return elsewhere(i - 3)
	})
}

// lines gives what Reconcile repaired, and holds that there is nothing after that.
func (f *fleet) lines() []string {
	f.t.Helper()
	lines, err := f.s.Reconcile(f.ctx, 1000)
	f.must(err)
	f.reconciled()
	return lines
}

func (f *fleet) repairedOnce(text string) {
	f.t.Helper()
	if lines := f.lines(); len(lines) != 1 || !strings.Contains(lines[0], text) {
		f.t.Errorf("Reconcile says %q, want one line with %q", lines, text)
	}
}

func (f *fleet) counters(id queue.JobID) queue.Counters {
	f.t.Helper()
	j, err := f.s.Job(f.ctx, id)
	f.must(err)
	return j.Counters
}

// One partition goes back to before a job was submitted. Whoever meets that rebuilds its part, once, and the job ends.
func TestPartLost(t *testing.T) {
	t.Parallel()
	url := redistest.StartCluster(t, 3).URL
	const line = "partition 20 had lost its 3 executions"
	tests := map[string]func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID){
		"reads answer meanwhile": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			before, err := f.s.Targets(f.ctx, id, 0, 10)
			f.must(err)
			was.back()
			fresh := open(t, redisqueue.Options{URL: url}) // with nothing in its caches
			states, err := fresh.States(f.ctx, id)
			if want := "pppqqq"; string(states) != want || err != nil {
				t.Errorf("States: %s, %v", states, err)
			}
			xs, _, err := fresh.Executions(f.ctx, queue.ExecutionQuery{Job: id, Limit: 10})
			if err != nil || len(xs) != 6 || xs[0].State != queue.Planned || xs[3].State != queue.Queued {
				t.Errorf("Executions: %v, %v", xs, err)
			}
			targets, err := fresh.Targets(f.ctx, id, 0, 10)
			if err != nil || len(targets) != 6 || targets[0] != before[0] || targets[5] != before[5] {
				t.Errorf("Targets: %v, %v", targets, err)
			}
			x, err := fresh.Execution(f.ctx, id, before[1])
			if err != nil || x.State != queue.Planned || x.Ordinal != 1 {
				t.Errorf("Execution: %+v, %v", x, err)
			}
			jobs, _, err := fresh.ListJobs(f.ctx, "", 10)
			if err != nil || len(jobs) != 1 || jobs[0].Counters.Total() != 6 || jobs[0].Counters[queue.Planned] != 3 {
				t.Errorf("ListJobs: %v, %v", jobs, err)
			}
			if open, err := fresh.OpenJobs(f.ctx, 10); err != nil || len(open) != 0 {
				t.Errorf("reading changed something: %v, %v", open, err)
			}
			f.repairedOnce(line)
		},
		"met by Expand": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			was.back()
			f.expand(id)
			f.repairedOnce(line)
		},
		"while the job is opened again": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			f.must(f.s.Bound(f.ctx, id))
			f.expand(id)
			if n := f.counters(id); n.Total() != 6 {
				t.Errorf("counters: %v", n)
			}
			f.repairedOnce(line)
			f.expand(id)
		},
		"met by Job": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			if n := f.counters(id); n[queue.Planned] != 3 || n[queue.Queued] != 3 {
				t.Errorf("counters: %v", n)
			}
			f.expand(id)
			f.repairedOnce(line)
		},
		"met by Reconcile": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			f.repairedOnce(line)
			if ids, err := f.s.OpenJobs(f.ctx, 10); err != nil || len(ids) != 1 {
				t.Errorf("OpenJobs: %v, %v", ids, err)
			}
			f.expand(id)
		},
		"met by Cancel": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			n, err := f.s.Cancel(f.ctx, id, nil, "bob")
			if err != nil || n.Cancelled != 6 {
				t.Errorf("Cancel: %+v, %v", n, err)
			}
			f.repairedOnce(line)
			if n := f.counters(id); n[queue.Cancelled] != 6 {
				t.Errorf("counters: %v", n)
			}
		},
		"met by Cancel of a host": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			n, err := f.s.Cancel(f.ctx, id, []queue.HostID{f.targets[0].Host}, "bob")
			if err != nil || n.Cancelled != 1 {
				t.Errorf("Cancel: %+v, %v", n, err)
			}
			f.expand(id)
			if n := f.counters(id); n[queue.Cancelled] != 1 || n[queue.Queued] != 5 {
				t.Errorf("counters: %v", n)
			}
			f.repairedOnce(line)
		},
		"cancelled before": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			_, err := f.s.Cancel(f.ctx, id, nil, "bob")
			f.must(err)
			was.back()
			f.repairedOnce(line)
			f.expand(id)
			if n := f.counters(id); n[queue.Cancelled] != 6 {
				t.Errorf("counters: %v", n)
			}
		},
		"too late to be delivered": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			was.back()
			f.repairedOnce(line)
			c.us.Add(queue.DefaultPickupTimeout.Microseconds())
			f.expand(id)
			for _, target := range f.targets[:3] {
				l, err := f.s.Lease(f.ctx, queue.Fetch{Host: target.Host, Session: f.claim(target).Session, Gateway: "gw", Max: 1})
				if err != nil || len(l.Deliveries) != 0 {
					t.Errorf("Lease: %+v, %v", l, err)
				}
			}
			if n := f.counters(id); n[queue.Expired] != 3 {
				t.Errorf("counters: %v", n)
			}
		},
		"released late, delivered not later": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			x0, err := f.s.Execution(f.ctx, id, f.targets[0].Host)
			f.must(err)
			was.back()
			c.us.Add(time.Hour.Microseconds())
			f.repairedOnce(line)
			f.expand(id)
			x, err := f.s.Execution(f.ctx, id, f.targets[0].Host)
			if err != nil || x.State != queue.Queued || x.DeliverUntil.After(x0.DeliverUntil) {
				t.Errorf("deliver until %v, was %v; %v", x.DeliverUntil, x0.DeliverUntil, err)
			}
		},
		"in hand": func(t *testing.T, f *fleet, c *clock, was *partKeys, id queue.JobID) {
			f.expand(id)
			started, running, ended := f.lagging(id, 0), f.lagging(id, 1), f.lagging(id, 2)
			started.lease()
			started.record(1, 1)
			running.lease()
			running.record(1, 3)
			ended.lease()
			ended.record(1, 4)
			was.back()
			// The first to come back rebuilds the part. What was started isn't to be started again, and its output not to be dropped.
			started.rejoin(queue.VerdictForget, 0)
			acks, err := f.s.Record(f.ctx, queue.HostEvents{Host: running.target.Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
				{Execution: running.id, Seq: 4, Kind: queue.EventFinished, Outcome: queue.Succeeded, At: time.Now()}}})
			if err != nil || acks[0].Verdict != queue.VerdictForget || acks[0].Reason != queue.ReasonStaleToken {
				t.Errorf("Record: %+v, %v", acks, err)
			}
			f.expand(id)
			for _, h := range []*lagging{started, running, ended} {
				h.rejoin(queue.VerdictForget, 0)
				h.lease()
				h.record(1, 4)
			}
			f.repairedOnce(line)
			for _, target := range f.targets[3:] {
				f.must(f.work(target, 1))
			}
			f.check(id)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := new(clock)
			f := torn(t, url, c)
			n := f.job()
			was := f.keep(lostPart)
			_, _, err := f.s.Submit(f.ctx, n)
			f.must(err)
			test(t, f, c, was, n.Job.ID)
			_, err = f.s.Cancel(f.ctx, n.Job.ID, nil, "end")
			f.must(err)
			if j, err := f.s.Job(f.ctx, n.Job.ID); err != nil || j.Counters.Done() != 6 || j.FinishedAt.IsZero() {
				t.Errorf("the job doesn't end: %v, %v", j.Counters, err)
			}
			f.reconciled()
			sw, err := f.s.Sweep(f.ctx, 1000, queue.Retention{RecordBytes: 1})
			if err != nil || sw.Deleted != 1 {
				t.Errorf("Sweep: %+v, %v", sw, err)
			}
			for _, key := range f.keysOf(lostPart) {
				if strings.Contains(key, ":jt:") {
					t.Errorf("%s is left", key)
				}
			}
			f.must(f.s.Client().(*redis.ClusterClient).ForEachMaster(f.ctx, func(ctx context.Context, n *redis.Client) error { return n.FlushAll(ctx).Err() }))
		})
	}
}
