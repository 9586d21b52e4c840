package redisqueue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	l := &lever{url: redistest.StartCluster(t, 3).URL}
	queuetest.Run(t, queuetest.Factory{Open: l.open})
}

// inPartition gives the i-th host id that lies in a partition.
func inPartition(p int) func(i int) queue.HostID {
	return func(i int) queue.HostID {
		for n := 0; ; n++ {
			if h := queue.HostID(fmt.Sprintf("p%d-%d", p, n)); redisqueue.PartitionOf(h) == p {
				if i == 0 {
					return h
				}
				i--
			}
		}
	}
}

// A slot goes to another node and back, while its hosts, and others, work.
func TestMigrateSlotUnderLoad(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	s := open(t, redisqueue.Options{URL: c.URL})
	const moving, hosts, rounds = 7, 24, 6
	here, elsewhere := inPartition(moving), inPartition(moving+64)
	f := newFleet(t, s, 2*hosts, func(i int) queue.HostID {
		if i < hosts {
			return here(i)
		}
		return elsewhere(i - hosts)
	})
	key := s.Key(moving, "d")
	from, slot := c.Owner(f.ctx, key)
	to := (from + 1) % 3

	var jobs []queue.JobID
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var moves, elsewhereOK atomic.Int64
	wg.Go(func() { // the slot goes to and fro until the work is done
		for a, b := from, to; ; a, b = b, a {
			c.Migrate(f.ctx, slot, a, b, func() {
				// The others don't wait for it.
				ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
				defer cancel()
				if _, err := s.Host(ctx, f.targets[hosts].Host); err != nil {
					t.Errorf("a host of another partition: %v", err)
				}
				elsewhereOK.Add(1)
			})
			moves.Add(1)
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	wg.Go(func() {
		defer close(stop)
		for range rounds {
			jobs = append(jobs, f.submit())
			f.all(1)
			var swept queue.Swept
			f.must(f.again(func() (err error) { swept, err = s.Sweep(f.ctx, 1000, queue.Retention{}); return err }))
			if swept != (queue.Swept{}) {
				t.Errorf("Sweep: %+v", swept)
			}
		}
	})
	wg.Wait()
	f.check(jobs...)
	t.Logf("the slot moved %d times; %d looks elsewhere meanwhile", moves.Load(), elsewhereOK.Load())
	if moves.Load() < 2 || elsewhereOK.Load() == 0 {
		t.Error("the slot hardly moved")
	}
	noHalfScripts(t, c.Nodes)
}

// noHalfScripts fails the test if a script ended in its middle on any node.
func noHalfScripts(t *testing.T, nodes []*redistest.Server) {
	t.Helper()
	for _, n := range nodes {
		rdb := n.Client()
		text, err := rdb.Info(context.Background(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			// What is refused before it starts is counted as rejected.
			if strings.HasPrefix(line, "cmdstat_fcall") && !strings.Contains(line, "failed_calls=0") {
				t.Errorf("node %s: %s", n.Addr, strings.TrimSpace(line))
			}
		}
		_ = rdb.Close()
	}
}

// A slot stands half-way for longer than verbs wait: only its partition's
// verbs say so, and nothing of theirs is half done.
func TestSlotHalfWay(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	s := open(t, redisqueue.Options{URL: c.URL})
	const moving = 100
	here, elsewhere := inPartition(moving), inPartition(3)
	f := newFleet(t, s, 4, func(i int) queue.HostID {
		if i < 2 {
			return here(i)
		}
		return elsewhere(i)
	})
	job := f.submit()
	from, slot := c.Owner(f.ctx, s.Key(moving, "d"))
	step := 0
	c.Migrate(f.ctx, slot, from, (from+1)%3, func() {
		if step++; step != 1 {
			return
		}
		ctx, cancel := context.WithTimeout(f.ctx, 300*time.Millisecond)
		defer cancel()
		t0 := f.targets[0]
		_, err := s.Claim(ctx, queue.Claim{Host: t0.Host, Incarnation: t0.Incarnation, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g"})
		if queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Claim in a slot half-way: %v", err)
		}
		if err := f.work(f.targets[2], 1); err != nil {
			t.Errorf("a host of another slot: %v", err)
		}
	})
	if step == 0 {
		t.Fatal("the slot had nothing to move")
	}
	for _, i := range []int{0, 1, 3} {
		if err := f.work(f.targets[i], 1); err != nil {
			t.Errorf("host %s: %v", f.targets[i].Host, err)
		}
	}
	f.check(job)
	noHalfScripts(t, c.Nodes)
}

// In a slot whose keys are about to leave, a script whose keys are all still here
// runs, and a key that it empties isn't looked for on the other node.
func TestScriptInMigratingSlot(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	s := open(t, redisqueue.Options{URL: c.URL})
	const moving = 50
	f := newFleet(t, s, 1, inPartition(moving))
	job := f.submit()
	target := f.targets[0]
	session := f.claim(target)
	rdb := s.Client()
	_, err := s.Sweep(f.ctx, 10, queue.Retention{}) // the clock has its key
	f.must(err)
	const later = 1e17
	for _, name := range []string{"lease", "delayed", "expiry", "ready"} {
		f.must(rdb.ZAdd(f.ctx, s.Key(moving, name), redis.Z{Score: later, Member: "filler/x"}).Err())
	}
	from, slot := c.Owner(f.ctx, s.Key(moving, "d"))
	to := (from + 1) % 3
	source, target2 := c.Nodes[from].Client(), c.Nodes[to].Client()
	defer source.Close()
	defer target2.Close()
	f.must(target2.Do(f.ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", source.ClusterMyID(f.ctx).Val()).Err())
	f.must(source.Do(f.ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", target2.ClusterMyID(f.ctx).Val()).Err())
	l, err := s.Lease(f.ctx, queue.Fetch{Host: target.Host, Session: session.Session, Gateway: "gw", Max: 1, TTL: time.Hour})
	if err != nil || len(l.Deliveries) != 1 {
		t.Fatalf("Lease: %+v, %v", l, err)
	}
	f.must(source.Do(f.ctx, "CLUSTER", "SETSLOT", slot, "STABLE").Err())
	f.must(target2.Do(f.ctx, "CLUSTER", "SETSLOT", slot, "STABLE").Err())
	noHalfScripts(t, c.Nodes)
	f.must(f.run(target, l.Deliveries[0]))
	for _, name := range []string{"lease", "delayed", "expiry", "ready"} {
		f.must(rdb.ZRem(f.ctx, s.Key(moving, name), "filler/x").Err())
	}
	f.check(job)
}

// The 128 partitions are spread evenly over the masters.
func TestPartitionsOverMasters(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	s := open(t, redisqueue.Options{URL: c.URL})
	per := make(map[string]int)
	for p := range redisqueue.Partitions {
		node, err := s.Client().(*redis.ClusterClient).MasterForKey(context.Background(), s.Key(p, "d"))
		if err != nil {
			t.Fatal(err)
		}
		per[node.Options().Addr]++
	}
	for addr, n := range per {
		if n < 42 || n > 43 {
			t.Errorf("%s has %d of 128 partitions", addr, n)
		}
	}
}
