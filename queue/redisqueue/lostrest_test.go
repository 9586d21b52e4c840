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

// Many, on two gateways, meet a lost part at once: it is rebuilt once, and nothing is let go twice.
func TestPartLostMetByMany(t *testing.T) {
	t.Parallel()
	url := redistest.StartCluster(t, 3).URL
	f := torn(t, url, new(clock))
	other := open(t, redisqueue.Options{URL: url})
	was := f.keep(lostPart)
	var jobs []queue.JobID
	for range 5 {
		jobs = append(jobs, f.submit())
	}
	was.back()
	var wg sync.WaitGroup
	for _, s := range []*redisqueue.Store{f.s, other} {
		for range 3 {
			wg.Go(func() {
				for _, id := range jobs {
					if _, err := s.Job(f.ctx, id); err != nil {
						t.Error(err)
					}
					if _, err := s.Expand(f.ctx, id, "driver", 1000); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, id := range jobs {
		f.expand(id)
	}
	var lines []string
	for _, s := range []*redisqueue.Store{f.s, other} {
		l, err := s.Reconcile(f.ctx, 1000)
		f.must(err)
		lines = append(lines, l...)
	}
	if len(lines) != len(jobs) {
		t.Errorf("Reconcile says %q, want one line for each of %d jobs", lines, len(jobs))
	}
	f.all(len(jobs))
	f.check(jobs...)
}

// One partition goes back to before its targets of a job were released, and the job counts as released: it is open
// again, and the hosts tell what they did.
func TestReleaseLost(t *testing.T) {
	t.Parallel()
	url := redistest.StartCluster(t, 3).URL
	for _, by := range []string{"Job", "Reconcile"} {
		f := torn(t, url, new(clock))
		n := f.job()
		_, _, err := f.s.Submit(f.ctx, n)
		f.must(err)
		id, was := n.Job.ID, f.keep(lostPart)
		f.expand(id)
		x0, err := f.s.Execution(f.ctx, id, f.targets[0].Host)
		f.must(err)
		host := f.lagging(id, 1)
		host.lease()
		host.record(1, 3)
		was.back()
		if by == "Job" {
			f.counters(id)
		}
		f.repairedOnce("3 planned executions were to be released by nobody")
		f.expand(id)
		if x, err := f.s.Execution(f.ctx, id, f.targets[0].Host); err != nil || x.State != queue.Queued || x.DeliverUntil.After(x0.DeliverUntil.Add(time.Second)) {
			t.Errorf("%s: deliver until %v, was %v; %v", x.State, x.DeliverUntil, x0.DeliverUntil, err)
		}
		host.rejoin(queue.VerdictForget, 0)
		host.lease()
		host.record(1, 4)
		for i, target := range f.targets {
			if i != 1 {
				f.must(f.work(target, 1))
			}
		}
		f.check(id)
	}
}

// The script of a job is lost, and with it the copy of its targets: the job is removed, and what hosts have of it is
// unknown. Others go on.
func TestScriptLost(t *testing.T) {
	t.Parallel()
	url := redistest.StartCluster(t, 3).URL
	for name, meet := range map[string]func(f *fleet, id queue.JobID) error{
		"Expand": func(f *fleet, id queue.JobID) error {
			_, err := f.s.Expand(f.ctx, id, "driver", 10)
			return err
		},
		"Job":    func(f *fleet, id queue.JobID) error { _, err := f.s.Job(f.ctx, id); return err },
		"Cancel": func(f *fleet, id queue.JobID) error { _, err := f.s.Cancel(f.ctx, id, nil, "bob"); return err },
		"Reconcile": func(f *fleet, id queue.JobID) error {
			lines, err := f.s.Reconcile(f.ctx, 10)
			if err == nil && len(lines) == 1 && strings.Contains(lines[0], "it was removed") {
				err = queue.Errorf(queue.NotFound, "as it should be")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := torn(t, url, new(clock))
			lost, kept := f.submit(), f.submit()
			host := f.lagging(lost, 0)
			host.lease()
			host.record(1, 1)
			f.must(f.s.Client().Del(f.ctx, "rexgate:job:{"+string(lost)+"}").Err())
			f.must(f.s.Close())
			f.s = open(t, redisqueue.Options{URL: url}) // with nothing in its caches
			if _, err := f.s.Cancel(f.ctx, kept, []queue.HostID{f.targets[5].Host}, "bob"); err != nil {
				t.Error(err)
			}
			if name != "Cancel" { // the list of open jobs has it only while something is to be released
				f.must(f.s.Client().ZAdd(f.ctx, f.s.JobsKey("open"), redis.Z{Member: string(lost)}).Err())
			}
			if err := meet(f, lost); queue.CodeOf(err) != queue.NotFound {
				t.Errorf("%v", err)
			}
			if name != "Reconcile" {
				f.repairedOnce("it was removed")
			}
			if ids, err := f.s.OpenJobs(f.ctx, 10); err != nil || len(ids) != 0 {
				t.Errorf("OpenJobs: %v, %v", ids, err)
			}
			for more := true; more; {
				sw, err := f.s.Sweep(f.ctx, 1000, queue.Retention{})
				f.must(err)
				more = sw.More
			}
			c, err := f.s.Claim(f.ctx, queue.Claim{Host: host.target.Host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g", Nonce: "n",
				Position: 1, InHand: []queue.InHand{{Execution: host.id, Token: host.token, Seq: 2}}})
			if err != nil || len(c.Verdicts) != 1 || c.Verdicts[0].Verdict != queue.VerdictForget || c.Verdicts[0].Reason != queue.ReasonUnknown {
				t.Errorf("Claim: %+v, %v", c, err)
			}
			for _, target := range f.targets[:5] {
				f.must(f.work(target, 1))
			}
			if n := f.counters(kept); n[queue.Succeeded] != 5 || n[queue.Cancelled] != 1 {
				t.Errorf("the other job: %v", n)
			}
			f.reconciled()
			f.must(f.s.Client().(*redis.ClusterClient).ForEachMaster(f.ctx, func(ctx context.Context, n *redis.Client) error { return n.FlushAll(ctx).Err() }))
		})
	}
}

// A master of a cluster is killed, and its replica takes over without what the master acknowledged last: with it goes
// its part of a job of which the commit record is on another. The gateways hear of it, and the job ends.
func TestClusterFailoverToLaggingReplica(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	s := open(t, redisqueue.Options{URL: c.URL})
	f := newFleet(t, s, 60, numbered)
	jobsNode, _ := c.Owner(f.ctx, s.JobsKey("all"))
	victim := (jobsNode + 1) % 3
	// The subscription is on another node than the one that falls.
	gateway := "gw"
	for n, _ := c.Owner(f.ctx, "rexgate:hints:"+gateway); n == victim; n, _ = c.Owner(f.ctx, "rexgate:hints:"+gateway) {
		gateway += "w"
	}
	// So are the scripts; what is lost then is tested above.
	job := func() queue.NewJob {
		for {
			n := f.job()
			if node, _ := c.Owner(f.ctx, "rexgate:job:{"+string(n.Job.ID)+"}"); node != victim {
				return n
			}
		}
	}
	ctx, cancel := context.WithCancel(f.ctx)
	hints := make(chan queue.Hint, 10_000)
	ended := make(chan error, 1)
	go func() { ended <- s.Subscribe(ctx, gateway, func(h queue.Hint) { hints <- h }) }()
	var there *lagging // on the node that falls
	replica := c.AddReplica(f.ctx, victim)
	first := job()
	_, _, err := s.Submit(f.ctx, first)
	f.must(err)
	f.expand(first.Job.ID)
	for i, target := range f.targets {
		if node, _ := c.Owner(f.ctx, s.Key(redisqueue.PartitionOf(target.Host), "d")); node == victim {
			there = f.lagging(first.Job.ID, i)
			break
		}
	}
	there.lease()
	there.record(1, 2)
	_, err = s.Reconcile(f.ctx, 10)
	f.must(err)
	c.Replicated(f.ctx, victim, replica)
	second := job()
	c.Lag(f.ctx, victim, replica, func() {
		there.record(3, 4) // acknowledged, and lost
		_, _, err := s.Submit(f.ctx, second)
		f.must(err)
		f.expand(second.Job.ID)
	})
	for again := false; !again; {
		select {
		case h := <-hints:
			again = h.Again
		case <-f.ctx.Done():
			t.Fatal("nobody is told that a part of the store may have gone back")
		}
	}
	var j queue.JobStatus
	f.must(f.again(func() (err error) { j, err = s.Job(f.ctx, second.Job.ID); return err }))
	if j.Counters[queue.Planned] < 5 || j.Counters[queue.Queued] < 5 || j.Counters.Total() != 60 {
		t.Errorf("after the failover: %v", j.Counters)
	}
	t.Logf("%d of 60 executions were lost", j.Counters[queue.Planned])
	f.expand(second.Job.ID)
	there.rejoin(queue.VerdictGo, 2)
	there.record(3, 4)
	var wg sync.WaitGroup
	for _, target := range f.targets {
		want := 2
		if target == there.target {
			want = 1
		}
		wg.Go(func() {
			if err := f.work(target, want); err != nil {
				t.Errorf("host %s: %v", target.Host, err)
			}
		})
	}
	wg.Wait()
	var lines []string
	f.must(f.again(func() (err error) { lines, err = s.Reconcile(f.ctx, 1000); return err }))
	if len(lines) < 5 {
		t.Errorf("Reconcile says %q", lines)
	}
	for _, l := range lines {
		if !strings.Contains(l, string(second.Job.ID)) || !strings.Contains(l, " had lost its ") {
			t.Error(l)
		}
	}
	f.check(first.Job.ID, second.Job.ID)
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// A host that doesn't say hello anew gets its slot back when what was in it would have lapsed.
func TestScriptLostInSlot(t *testing.T) {
	t.Parallel()
	c := new(clock)
	f := newFleet(t, open(t, redisqueue.Options{URL: redistest.Start(t).URL, ClockOffset: c.offset}), 1, numbered)
	lost, kept := f.submit(), f.submit()
	session := f.claim(f.targets[0])
	lease := func() []queue.Delivery {
		l, err := f.s.Lease(f.ctx, queue.Fetch{Host: f.targets[0].Host, Session: session.Session, Gateway: "gw", Max: 1, TTL: time.Second})
		f.must(err)
		return l.Deliveries
	}
	if d := lease(); len(d) != 1 || d[0].Execution.Job != lost {
		t.Fatalf("Lease: %+v", d)
	}
	f.must(f.s.Client().Del(f.ctx, "rexgate:job:{"+string(lost)+"}").Err())
	f.repairedOnce("it was removed")
	for range 3 {
		c.us.Add(queue.MaxTick.Microseconds())
		_, err := f.s.Sweep(f.ctx, 1000, queue.Retention{})
		f.must(err)
	}
	if d := lease(); len(d) != 1 || d[0].Execution.Job != kept {
		t.Errorf("Lease: %+v", d)
	}
	f.reconciled()
}
