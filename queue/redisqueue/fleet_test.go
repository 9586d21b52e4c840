package redisqueue_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
)

// fleet is some hosts on a store, with agents that do what they are told.
type fleet struct {
	t    testing.TB
	ctx  context.Context
	s    *redisqueue.Store
	name func(i int) queue.HostID

	targets []queue.Target

	mu      sync.Mutex
	started map[queue.ExecutionID]int // how often each was let go
}

func newFleet(t testing.TB, s *redisqueue.Store, n int, name func(i int) queue.HostID) *fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	f := &fleet{t: t, ctx: ctx, s: s, name: name, started: make(map[queue.ExecutionID]int)}
	key := sha256.Sum256([]byte("key"))
	for i := range n {
		h, err := s.Enroll(ctx, queue.Enrollment{Host: name(i), PublicKey: key[:], Token: "t"})
		f.must(err)
		f.targets = append(f.targets, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	}
	f.must(s.Alive(ctx, "gw", time.Hour))
	return f
}

func numbered(i int) queue.HostID { return queue.HostID(fmt.Sprintf("host-%03d", i)) }

func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// again repeats fn while the store is away, as every caller of it does.
func (f *fleet) again(fn func() error) error {
	for {
		err := fn()
		if queue.CodeOf(err) != queue.Unavailable || f.ctx.Err() != nil {
			return err
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *fleet) job() queue.NewJob {
	j := queue.Job{ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "alice"}
	return queue.NewJob{Job: j, Script: []byte("true"), Targets: f.targets}
}

// submit submits and releases a job to all hosts.
func (f *fleet) submit() queue.JobID {
	f.t.Helper()
	n := f.job()
	f.must(f.again(func() error { _, _, err := f.s.Submit(f.ctx, n); return err }))
	f.expand(n.Job.ID)
	return n.Job.ID
}

func (f *fleet) expand(id queue.JobID) {
	f.t.Helper()
	for done := false; !done; {
		f.must(f.again(func() error {
			x, err := f.s.Expand(f.ctx, id, "driver", 1000)
			done = x.Done
			return err
		}))
	}
}

func (f *fleet) tryClaim(t queue.Target) (c queue.Claimed, err error) {
	err = f.again(func() (err error) {
		c, err = f.s.Claim(f.ctx, queue.Claim{Host: t.Host, Incarnation: t.Incarnation, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g", Nonce: "n"})
		return err
	})
	return c, err
}

func (f *fleet) claim(t queue.Target) queue.Claimed {
	f.t.Helper()
	c, err := f.tryClaim(t)
	f.must(err)
	return c
}

// work runs a host's executions until the host has ended want of them. Every
// request is repeated until it is answered, with the same content.
func (f *fleet) work(t queue.Target, want int) error {
	c, err := f.tryClaim(t)
	if err != nil {
		return err
	}
	after := c.N
	for done := 0; done < want; {
		var l queue.Fetched
		err := f.again(func() (err error) {
			l, err = f.s.Lease(f.ctx, queue.Fetch{Host: t.Host, Session: c.Session, Gateway: "gw", After: after, Max: 1, TTL: time.Hour})
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range l.Deliveries {
			if err := f.run(t, d); err != nil {
				return err
			}
			after = d.N
			done++
		}
		if f.ctx.Err() != nil {
			return f.ctx.Err()
		}
	}
	return nil
}

func (f *fleet) run(t queue.Target, d queue.Delivery) error {
	id := d.Execution.ID()
	record := func(events ...queue.Event) (a queue.Ack, err error) {
		err = f.again(func() error {
			acks, err := f.s.Record(f.ctx, queue.HostEvents{Host: t.Host, Incarnation: t.Incarnation, Generation: "g", Events: events})
			if err == nil {
				a = acks[0]
			}
			return err
		})
		return a, err
	}
	a, err := record(queue.Event{Execution: id, Seq: 1, Kind: queue.EventAccepted, At: time.Now(), Token: d.Token, Position: d.N})
	if err != nil {
		return err
	}
	if a.Verdict != queue.VerdictGo {
		return fmt.Errorf("accepted of %s: %+v", id, a)
	}
	f.mu.Lock()
	f.started[id]++
	f.mu.Unlock()
	a, err = record(
		queue.Event{Execution: id, Seq: 2, Kind: queue.EventStarted, At: time.Now()},
		queue.Event{Execution: id, Seq: 3, Kind: queue.EventOutput, At: time.Now(), Stream: queue.Stdout, Data: []byte("hello from " + string(t.Host) + "\n")},
		queue.Event{Execution: id, Seq: 4, Kind: queue.EventFinished, At: time.Now(), Outcome: queue.Succeeded})
	if err == nil && a.Stored != 4 {
		return fmt.Errorf("finished of %s: %+v", id, a)
	}
	return err
}

// all works on all hosts at once.
func (f *fleet) all(want int) {
	var wg sync.WaitGroup
	for _, t := range f.targets {
		wg.Go(func() {
			if err := f.work(t, want); err != nil {
				f.t.Errorf("host %s: %v", t.Host, err)
			}
		})
	}
	wg.Wait()
}

// check holds what is stored against what the hosts did.
func (f *fleet) check(jobs ...queue.JobID) {
	f.t.Helper()
	for _, id := range jobs {
		var j queue.JobStatus
		// After a restart the client may hold on to its last failure to connect for a second.
		f.must(f.again(func() (err error) { j, err = f.s.Job(f.ctx, id); return err }))
		if j.Counters[queue.Succeeded] != len(f.targets) || j.Counters.Total() != len(f.targets) {
			f.t.Errorf("job %s: %v, want %d succeeded", id, j.Counters, len(f.targets))
		}
		for _, t := range f.targets {
			var chunks []queue.Chunk
			f.must(f.again(func() (err error) {
				chunks, err = f.s.Output(f.ctx, queue.OutputQuery{Job: id, Host: t.Host, Limit: 1000})
				return err
			}))
			if len(chunks) != 1 || string(chunks[0].Data) != "hello from "+string(t.Host)+"\n" {
				f.t.Errorf("output of %s: %d chunks", t.Host, len(chunks))
			}
		}
	}
	for id, n := range f.started {
		if n != 1 {
			f.t.Errorf("%s was let go %d times", id, n)
		}
	}
	f.reconciled()
}

func (f *fleet) reconciled() {
	f.t.Helper()
	var repairs []string
	f.must(f.again(func() (err error) { repairs, err = f.s.Reconcile(f.ctx, 1000); return err }))
	for _, r := range repairs {
		f.t.Errorf("Reconcile: %s", r)
	}
}
