package queuetest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Measured is a store for Bench, empty.
type Measured struct {
	Store queue.Store
	// ServerCPU is the processor time of the store's own process so far; nil = it has none.
	ServerCPU func() time.Duration
	// Bytes is what the store takes now, of what keeps it; nil = not known.
	Bytes func() int64
}

// benchCallers is how many goroutines call at once: as many as turns of a gateway's sessions do.
const benchCallers = 1024

// BenchHosts is the size of the benchmarks' fleet; REXGATE_BENCH_HOSTS sets another.
func BenchHosts() int {
	if n, err := strconv.Atoi(os.Getenv("REXGATE_BENCH_HOSTS")); err == nil && n > 0 {
		return n
	}
	return 100_000
}

// Bench measures the verbs of a job's way through a fleet, one sub-benchmark each, by
// the same names on every store. An iteration is the verb on all hosts of the fleet;
// what a verb needs is done before, off the clock. The metrics are per host:
//
//	hosts/s         the rate
//	cpu-us/host     processor time of this process, callers and all
//	server-us/host  processor time of the store's own process, if it has one
//	B/host          what the store takes more afterwards, where it tells
func Bench(b *testing.B, open func(testing.TB) Measured) {
	f := newBenchFleet(b, open(b), BenchHosts())
	run := func(verb string, fn func(b *testing.B, f *benchFleet)) {
		b.Run(fmt.Sprintf("%s/hosts=%d", verb, len(f.targets)), func(b *testing.B) {
			f.TB = b
			fn(b, f)
		})
	}
	// In this order each finds what it needs in the state that the one before left.
	run("claim", func(b *testing.B, f *benchFleet) { f.measure(b, nil, f.claim) })
	run("enqueue", func(b *testing.B, f *benchFleet) { f.measure(b, f.toIdle, f.enqueue) })
	run("lease", func(b *testing.B, f *benchFleet) { f.measure(b, f.toQueued, f.lease) })
	run("accept", func(b *testing.B, f *benchFleet) { f.measure(b, f.toLeased, f.accept) })
	run("finish", func(b *testing.B, f *benchFleet) { f.measure(b, f.toAccepted, f.finish) })
	run("states", benchStates)
	run("ready", benchReady)
}

// benchFleet is hosts with sessions, and where the job is that they were last given.
type benchFleet struct {
	testing.TB
	Measured
	ctx      context.Context
	targets  []queue.Target
	sessions []int64
	job      queue.JobID
	tokens   []string
	at       queue.State // of all executions of job; Succeeded = the fleet is idle
}

const (
	benchGateway    = "gw-1"
	benchGeneration = "0f9c2b7ae1d84c55"
)

// newBenchFleet enrols hosts in the order of their ids, as a store that was filled over
// time has them mostly.
func newBenchFleet(b *testing.B, m Measured, n int) *benchFleet {
	b.Helper()
	f := &benchFleet{TB: b, Measured: m, ctx: context.Background(), targets: make([]queue.Target, n), sessions: make([]int64, n),
		tokens: make([]string, n), at: queue.Succeeded}
	f.must(f.Store.Alive(f.ctx, benchGateway, time.Hour))
	f.each(func(i int) error {
		h, err := f.Store.Enroll(f.ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprintf("host-%06d.example.net", i)),
			PublicKey: make([]byte, 32), Token: "t", Labels: map[string]string{"role": "web", "site": "a"}})
		f.targets[i] = queue.Target{Host: h.ID, Incarnation: h.Incarnation}
		return err
	})
	f.claim()
	return f
}

func (f *benchFleet) must(err error) {
	if err != nil {
		f.Helper()
		f.Fatal(err)
	}
}

// each calls fn for every host, in order, from many goroutines.
func (f *benchFleet) each(fn func(i int) error) {
	f.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range benchCallers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(f.targets) && !f.Failed(); i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					f.Errorf("host %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if f.Failed() {
		f.FailNow()
	}
}

// measure runs what it is about on the clock, after prepare off the clock.
func (f *benchFleet) measure(b *testing.B, prepare, run func()) {
	var own, server time.Duration
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		if prepare != nil {
			prepare()
		}
		own0, server0, bytes0 := processorTime(b), f.serverCPU(), f.bytes()
		b.StartTimer()
		run()
		b.StopTimer()
		own, server, bytes = own+processorTime(b)-own0, server+f.serverCPU()-server0, bytes+f.bytes()-bytes0
		b.StartTimer()
	}
	n := float64(b.N) * float64(len(f.targets))
	b.ReportMetric(n/b.Elapsed().Seconds(), "hosts/s")
	b.ReportMetric(own.Seconds()*1e6/n, "cpu-us/host")
	if f.ServerCPU != nil {
		b.ReportMetric(server.Seconds()*1e6/n, "server-us/host")
	}
	if f.Bytes != nil {
		b.ReportMetric(float64(bytes)/n, "B/host")
	}
}

func (f *benchFleet) serverCPU() time.Duration {
	if f.ServerCPU == nil {
		return 0
	}
	return f.ServerCPU()
}

func (f *benchFleet) bytes() int64 {
	if f.Bytes == nil {
		return 0
	}
	return f.Bytes()
}

// processorTime is what the process has used so far.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The way of a job, a step at a time; each begins where the one before ends.

func (f *benchFleet) toIdle() {
	if f.at != queue.Succeeded {
		f.toAccepted()
		f.finish()
	}
}

func (f *benchFleet) toQueued() {
	if f.at != queue.Queued {
		f.toIdle()
		f.enqueue()
	}
}

func (f *benchFleet) toLeased() {
	if f.at != queue.Leased {
		f.toQueued()
		f.lease()
	}
}

func (f *benchFleet) toAccepted() {
	if f.at != queue.Accepted {
		f.toLeased()
		f.accept()
	}
}

func (f *benchFleet) claim() {
	f.each(func(i int) error {
		c, err := f.Store.Claim(f.ctx, queue.Claim{
			Host: f.targets[i].Host, Incarnation: f.targets[i].Incarnation, Gateway: benchGateway, Transport: queue.TransportSocket,
			AgentVersion: "1.0", BootID: "6d1e8f7e-5d3f-4a3a-9f1c-0c1d8d1e9a77", Generation: benchGeneration, Nonce: "b7ae1d84c55f9c20",
		})
		f.sessions[i] = c.Session
		return err
	})
}

// enqueue submits a job for all hosts, and releases it.
func (f *benchFleet) enqueue() {
	script := []byte("echo hello; sleep 10; echo bye\n")
	j := queue.Job{
		ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "bench", Selection: "all",
		ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest(script),
	}
	_, _, err := f.Store.Submit(f.ctx, queue.NewJob{Job: j, Script: script, Targets: f.targets})
	f.must(err)
	for done := false; !done; {
		x, err := f.Store.Expand(f.ctx, j.ID, "bench", 5000)
		f.must(err)
		done = x.Done
	}
	f.job, f.at = j.ID, queue.Queued
}

func (f *benchFleet) lease() {
	f.each(func(i int) error {
		got, err := f.Store.Lease(f.ctx, queue.Fetch{Host: f.targets[i].Host, Session: f.sessions[i], Gateway: benchGateway, Max: 1, TTL: time.Hour})
		if err != nil {
			return err
		}
		if len(got.Deliveries) != 1 {
			return fmt.Errorf("%d deliveries", len(got.Deliveries))
		}
		f.tokens[i] = got.Deliveries[0].Token
		return nil
	})
	f.at = queue.Leased
}

func (f *benchFleet) accept() {
	f.record(1, func(i int, x queue.ExecutionID, at time.Time) []queue.Event {
		return []queue.Event{{Execution: x, Seq: 1, Kind: queue.EventAccepted, At: at, Token: f.tokens[i], Position: 1}}
	})
	f.at = queue.Accepted
}

// finish reports all the rest at once, as after an instant script.
func (f *benchFleet) finish() {
	f.record(4, func(_ int, x queue.ExecutionID, at time.Time) []queue.Event {
		return []queue.Event{
			{Execution: x, Seq: 2, Kind: queue.EventStarted, At: at},
			{Execution: x, Seq: 3, Kind: queue.EventOutput, At: at, Stream: queue.Stdout, Data: []byte("hello\n")},
			{Execution: x, Seq: 4, Kind: queue.EventFinished, At: at, Outcome: queue.Succeeded},
		}
	})
	f.at = queue.Succeeded
}

func (f *benchFleet) record(stored int64, events func(i int, x queue.ExecutionID, at time.Time) []queue.Event) {
	f.each(func(i int) error {
		h := f.targets[i]
		acks, err := f.Store.Record(f.ctx, queue.HostEvents{Host: h.Host, Incarnation: h.Incarnation, Generation: benchGeneration,
			Events: events(i, queue.NewExecutionID(f.job, h.Host), time.Now())})
		if err == nil && acks[0].Stored != stored {
			err = fmt.Errorf("stored up to %d, want %d", acks[0].Stored, stored)
		}
		return err
	})
}

// benchStates reads the states of a whole job that doesn't change.
func benchStates(b *testing.B, f *benchFleet) {
	f.toIdle()
	for b.Loop() {
		states, err := f.Store.States(f.ctx, f.job)
		f.must(err)
		if len(states) != len(f.targets) || states[0] != byte(queue.Succeeded) {
			b.Fatalf("%d states, the first is %c", len(states), states[0])
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/read")
}

// benchReady reads the ready set of a gateway none of whose hosts has work.
func benchReady(b *testing.B, f *benchFleet) {
	f.toIdle()
	for b.Loop() {
		hosts, err := f.Store.Ready(f.ctx, benchGateway, 1000)
		f.must(err)
		if len(hosts) != 0 {
			b.Fatalf("%d hosts of an idle fleet are ready", len(hosts))
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/read")
}
