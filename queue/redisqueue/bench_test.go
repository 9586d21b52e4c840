package redisqueue_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// benchHosts is how many hosts the benchmarks have; REXGATE_BENCH_HOSTS sets another number.
func benchHosts() int {
	if n, err := strconv.Atoi(os.Getenv("REXGATE_BENCH_HOSTS")); err == nil {
		return n
	}
	return 100_000
}

// callers is how many goroutines call at once, as sessions do.
const callers = 2048

type bench struct {
	b        *testing.B
	ctx      context.Context
	s        *redisqueue.Store
	rdb      *redis.Client
	targets  []queue.Target
	sessions []int64
}

// BenchmarkFleet takes one job through a fleet, phase by phase, and reports for
// each the rate and the CPU time that Redis spends per host, and what a finished execution takes
// of Redis' memory. One iteration is the whole.
func BenchmarkFleet(b *testing.B) {
	for b.Loop() {
		srv := redistest.Start(b)
		f := &bench{b: b, ctx: context.Background(), rdb: srv.Client()}
		f.s = open(b, redisqueue.Options{URL: srv.URL + "?pool_size=32"})
		f.enroll(benchHosts())
		f.claim()
		before := f.memory()
		job := f.submit()
		f.expand(job)
		mid := f.memory()
		ds := f.lease()
		f.record(ds)
		f.states(job)
		after := f.memory()
		n := float64(len(f.targets))
		b.ReportMetric(float64(mid-before)/n, "B/queued")
		b.ReportMetric(float64(after-before)/n, "B/finished")
		_ = f.rdb.Close()
		srv.Kill()
	}
}

func (f *bench) must(err error) {
	if err != nil {
		f.b.Helper()
		f.b.Fatal(err)
	}
}

// phase runs fn, and reports what it took per host.
func (f *bench) phase(what string, fn func()) {
	n, cpu, start := float64(len(f.targets)), f.cpu(), time.Now()
	fn()
	f.b.ReportMetric(n/time.Since(start).Seconds(), what+"/s")
	f.b.ReportMetric((f.cpu()-cpu)/n*1e6, "redis-us/"+what)
}

// cpu is Redis' CPU time so far, in seconds.
func (f *bench) cpu() float64 { return f.info("cpu", "used_cpu_user") + f.info("cpu", "used_cpu_sys") }

func (f *bench) memory() int64 { return int64(f.info("memory", "used_memory_dataset")) }

func (f *bench) info(section, name string) float64 {
	text, err := f.rdb.Info(f.ctx, section).Result()
	f.must(err)
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			f.must(err)
			return n
		}
	}
	f.b.Fatalf("no %s in INFO %s", name, section)
	return 0
}

// all calls fn for every host from many goroutines.
func (f *bench) all(what string, n int, fn func(i int) error) {
	f.phase(what, func() { f.each(what, n, fn) })
}

func (f *bench) each(what string, n int, fn func(i int) error) {
	var wg sync.WaitGroup
	next := make(chan int, callers)
	for range callers {
		wg.Go(func() {
			for i := range next {
				if err := fn(i); err != nil {
					f.b.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func (f *bench) enroll(n int) {
	f.targets = make([]queue.Target, n)
	key := sha256.Sum256([]byte("key"))
	f.all("enrol", n, func(i int) error {
		h, err := f.s.Enroll(f.ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprintf("host-%06d", i)), PublicKey: key[:], Token: "t"})
		f.targets[i] = queue.Target{Host: h.ID, Incarnation: h.Incarnation}
		return err
	})
}

func (f *bench) claim() {
	f.must(f.s.Alive(f.ctx, "gw-1", time.Hour))
	f.sessions = make([]int64, len(f.targets))
	f.all("claim", len(f.targets), func(i int) error {
		c, err := f.s.Claim(f.ctx, queue.Claim{Host: f.targets[i].Host, Incarnation: f.targets[i].Incarnation, Gateway: "gw-1",
			Transport: queue.TransportSocket, Generation: "g", Nonce: "n"})
		f.sessions[i] = c.Session
		return err
	})
}

func (f *bench) submit() queue.JobID {
	script := []byte("echo hello; sleep 10; echo bye")
	j := queue.Job{ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "bench"}
	f.phase("submit", func() {
		_, _, err := f.s.Submit(f.ctx, queue.NewJob{Job: j, Script: script, Targets: f.targets})
		f.must(err)
	})
	return j.ID
}

func (f *bench) expand(job queue.JobID) {
	f.phase("expand", func() {
		for done := false; !done; {
			x, err := f.s.Expand(f.ctx, job, "bench", 1_000_000)
			f.must(err)
			done = x.Done
		}
	})
}

func (f *bench) lease() []queue.Delivery {
	ds := make([]queue.Delivery, len(f.targets))
	f.all("lease", len(f.targets), func(i int) error {
		l, err := f.s.Lease(f.ctx, queue.Fetch{Host: f.targets[i].Host, Session: f.sessions[i], Gateway: "gw-1", Max: 1, TTL: time.Hour})
		if err == nil && len(l.Deliveries) == 1 {
			ds[i] = l.Deliveries[0]
		}
		return err
	})
	return ds
}

// record reports in two goes, as a script that takes its time does: accepted, then
// all else.
func (f *bench) record(ds []queue.Delivery) {
	f.all("accept", len(ds), func(i int) error {
		d := ds[i]
		_, err := f.s.Record(f.ctx, queue.HostEvents{Host: d.Execution.Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
			{Execution: d.Execution.ID(), Seq: 1, Kind: queue.EventAccepted, At: time.Now(), Token: d.Token, Position: 1}}})
		return err
	})
	f.all("finish", len(ds), func(i int) error {
		id, now := ds[i].Execution.ID(), time.Now()
		acks, err := f.s.Record(f.ctx, queue.HostEvents{Host: ds[i].Execution.Host, Incarnation: 1, Generation: "g", Events: []queue.Event{
			{Execution: id, Seq: 2, Kind: queue.EventStarted, At: now},
			{Execution: id, Seq: 3, Kind: queue.EventOutput, At: now, Stream: queue.Stdout, Data: []byte("hello\n")},
			{Execution: id, Seq: 4, Kind: queue.EventOutput, At: now, Stream: queue.Stdout, Data: []byte("bye\n")},
			{Execution: id, Seq: 5, Kind: queue.EventFinished, At: now, Outcome: queue.Succeeded},
		}})
		if err == nil && acks[0].Stored != 5 {
			return fmt.Errorf("stored up to %d", acks[0].Stored)
		}
		return err
	})
}

func (f *bench) states(job queue.JobID) {
	const n = 100
	start := time.Now()
	for range n {
		states, err := f.s.States(f.ctx, job)
		f.must(err)
		if strings.Count(string(states), "s") != len(f.targets) {
			f.b.Fatal("not all have succeeded")
		}
	}
	f.b.ReportMetric(float64(time.Since(start).Microseconds())/n/1000, "ms/states")
}
