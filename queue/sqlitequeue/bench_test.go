package sqlitequeue_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// The benchmarks measure one job on a fleet, at the size that the design aims
// at, with hundreds of callers.
const (
	fleetSize = 100_000
	callers   = 500
)

// fleet is a store with enrolled hosts that all hold a session.
type fleet struct {
	s       *sqlitequeue.Store
	targets []queue.Target
}

// newFleet makes hosts in the order of their ids, as a store that was filled over
// time has them mostly.
func newFleet(b *testing.B, n int) *fleet {
	b.Helper()
	ctx := context.Background()
	f := &fleet{s: open(b, sqlitequeue.Options{Path: filepath.Join(b.TempDir(), "store.db")})}
	ids := make([]queue.HostID, n)
	for i := range ids {
		ids[i] = queue.HostID(fmt.Sprintf("host-%06d.example.net", i))
	}
	f.each(b, n, func(i int) error {
		h, err := f.s.Enroll(ctx, queue.Enrollment{Host: ids[i], PublicKey: make([]byte, 32), Labels: map[string]string{"role": "web", "site": "a"}})
		if err != nil {
			return err
		}
		_, err = f.s.Claim(ctx, queue.Claim{
			Host: ids[i], Incarnation: h.Incarnation, Gateway: "gw-1", Transport: queue.TransportSocket, AgentVersion: "1.0",
			BootID: "6d1e8f7e-5d3f-4a3a-9f1c-0c1d8d1e9a77", Generation: "0f9c2b7ae1d84c55", Nonce: "b7ae1d84c55f9c20",
		})
		return err
	})
	var err error
	if f.targets, err = f.s.Select(ctx, queue.Selector{}, nil); err != nil {
		b.Fatal(err)
	}
	return f
}

// each calls fn for 0 to n-1 from many goroutines, in order.
func (f *fleet) each(b testing.TB, n int, fn func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || b.Failed() {
					return
				}
				if err := fn(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func (f *fleet) submit(b *testing.B) queue.JobID {
	b.Helper()
	script := []byte("echo hello\n")
	n := queue.NewJob{
		Job: queue.Job{
			ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "bench", Selection: "all",
			ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest(script),
		},
		Script: script, Targets: f.targets,
	}
	if _, _, err := f.s.Submit(context.Background(), n); err != nil {
		b.Fatal(err)
	}
	return n.Job.ID
}

func (f *fleet) expand(b *testing.B, job queue.JobID) {
	b.Helper()
	for {
		x, err := f.s.Expand(context.Background(), job, "bench", 5000)
		if err != nil {
			b.Fatal(err)
		}
		if x.Done {
			return
		}
	}
}

func (f *fleet) lease(host queue.HostID) (queue.Fetched, error) {
	return f.s.Lease(context.Background(), queue.Fetch{Host: host, Session: 1, Gateway: "gw-1", Max: 1, TTL: time.Minute})
}

// BenchmarkJob is the way of one job on the whole fleet, a stage at a time:
// submit and expand, lease, all events of an instant script at once.
func BenchmarkJob(b *testing.B) {
	f := newFleet(b, fleetSize)
	ctx := context.Background()
	times, cpus := map[string]time.Duration{}, map[string]time.Duration{}
	b.ResetTimer()
	for range b.N {
		start, cpu := time.Now(), cpuTime(b)
		stage := func(name string) {
			times[name] += time.Since(start)
			cpus[name] += cpuTime(b) - cpu
			start, cpu = time.Now(), cpuTime(b)
		}
		job := f.submit(b)
		stage("submit")
		f.expand(b, job)
		stage("expand")
		tokens := make([]string, len(f.targets))
		f.each(b, len(f.targets), func(i int) error {
			got, err := f.lease(f.targets[i].Host)
			if err == nil && len(got.Deliveries) != 1 {
				err = fmt.Errorf("%d deliveries", len(got.Deliveries))
			}
			if err == nil {
				tokens[i] = got.Deliveries[0].Token
			}
			return err
		})
		stage("lease")
		f.each(b, len(f.targets), func(i int) error {
			x := queue.NewExecutionID(job, f.targets[i].Host)
			at := time.Now()
			acks, err := f.s.Record(ctx, queue.HostEvents{
				Host: f.targets[i].Host, Incarnation: 1, Generation: "0f9c2b7ae1d84c55",
				Events: []queue.Event{
					{Execution: x, Seq: 1, Kind: queue.EventAccepted, At: at, Token: tokens[i], Position: 1},
					{Execution: x, Seq: 2, Kind: queue.EventStarted, At: at},
					{Execution: x, Seq: 3, Kind: queue.EventOutput, At: at, Stream: queue.Stdout, Data: []byte("hello\n")},
					{Execution: x, Seq: 4, Kind: queue.EventFinished, At: at, Outcome: queue.Succeeded},
				},
			})
			if err == nil && acks[0].Stored != 4 {
				err = fmt.Errorf("ack %+v", acks[0])
			}
			return err
		})
		stage("record")
		states, err := f.s.States(ctx, job)
		if err != nil || len(states) != fleetSize {
			b.Fatal(len(states), err)
		}
		stage("states")
		for range 10 {
			if _, err := f.s.States(ctx, job); err != nil {
				b.Fatal(err)
			}
		}
		stage("states again")
		if hosts, err := f.s.Ready(ctx, "gw-1", 1000); err != nil || len(hosts) != 0 {
			b.Fatal(hosts, err)
		}
		stage("ready")
	}
	n := float64(fleetSize) * float64(b.N)
	for _, name := range []string{"submit", "expand", "lease", "record"} {
		b.ReportMetric(n/times[name].Seconds(), name+"/s")
		b.ReportMetric(cpus[name].Seconds()*1e6/n, "cpu-us/"+name) // of callers too; on a busy machine the better figure
	}
	b.ReportMetric(times["states"].Seconds()*1000/float64(b.N), "ms/states")
	b.ReportMetric(times["ready"].Seconds()*1000/float64(b.N), "ms/ready-of-idle")
	b.ReportMetric(times["states again"].Seconds()*100/float64(b.N), "ms/states-again")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
