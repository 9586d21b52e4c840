package sqlitequeue_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// enrolled gives n new hosts.
func enrolled(t *testing.T, s *sqlitequeue.Store, n int) (targets []queue.Target) {
	t.Helper()
	for i := range n {
		h, err := s.Enroll(t.Context(), queue.Enrollment{Host: queue.HostID(fmt.Sprintf("h%03d", i))})
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	}
	return targets
}

// TestStatesFollow asks for state bytes while they change: each answer has all
// that was acknowledged before it was asked for, from many hosts at once.
func TestStatesFollow(t *testing.T) {
	ctx := context.Background()
	s := open(t, sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	const hosts = 60
	targets := enrolled(t, s, hosts)
	job := submitTo(t, s, targets...)
	want := func(i int, state queue.State, after string) {
		states, err := s.States(ctx, job)
		if err != nil || len(states) != hosts || states[i] != byte(state) {
			t.Errorf("after %s of host %d: states %s, want %c there (%v)", after, i, states, state, err)
		}
	}
	want(0, queue.Planned, "the submit")
	released := make([]chan struct{}, hosts)
	for i := range released {
		released[i] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			<-released[i]
			want(i, queue.Queued, "release")
			c, err := s.Claim(ctx, queue.Claim{Host: targets[i].Host, Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g"})
			if err != nil {
				t.Error(err)
				return
			}
			f, err := s.Lease(ctx, queue.Fetch{Host: targets[i].Host, Session: c.Session, Gateway: "gw", Max: 1, TTL: time.Minute})
			if err != nil || len(f.Deliveries) != 1 {
				t.Error(f, err)
				return
			}
			want(i, queue.Leased, "lease")
			id := f.Deliveries[0].Execution.ID()
			for seq, e := range []queue.Event{
				{Kind: queue.EventAccepted, Token: f.Deliveries[0].Token}, {Kind: queue.EventStarted}, {Kind: queue.EventFinished, Outcome: queue.Failed},
			} {
				e.Execution, e.Seq = id, int64(seq)+1
				if _, err := s.Record(ctx, queue.HostEvents{Host: targets[i].Host, Incarnation: 1, Generation: "g", Events: []queue.Event{e}}); err != nil {
					t.Error(err)
				}
				want(i, []queue.State{queue.Accepted, queue.Running, queue.Failed}[seq], string(e.Kind))
			}
		})
	}
	for from, step := 0, 4; from < hosts; from += step {
		if _, err := s.Expand(ctx, job, "test", step); err != nil {
			t.Fatal(err)
		}
		for i := from; i < min(from+step, hosts); i++ {
			close(released[i])
		}
	}
	wg.Wait()
}

// TestReconcileStates makes bytes in memory wrong: they are repaired, and said to be; and while executions move, none is.
func TestReconcileStates(t *testing.T) {
	ctx := context.Background()
	s := open(t, sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	const hosts = 40
	targets := enrolled(t, s, hosts)
	job := submitTo(t, s, targets...)
	states := func() string {
		t.Helper()
		b, err := s.States(ctx, job)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	reconcile := func() (all []string) {
		t.Helper()
		for range 2 { // the second goes on from the end
			lines, err := s.Reconcile(ctx, 10)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, lines...)
		}
		return all
	}
	whole := states()
	s.SpoilState(t, job, 3, queue.Running)
	s.SpoilState(t, job, 5, queue.Lost)
	if states() == whole {
		t.Fatal("nothing was spoilt")
	}
	want := "job " + string(job) + ": 2 state bytes in memory were wrong: that of execution 3 was r, is p"
	if got := reconcile(); len(got) != 1 || got[0] != want {
		t.Errorf("repairs %q, want %q", got, want)
	}
	if got := states(); got != whole {
		t.Errorf("states %s, want %s", got, whole)
	}
	if got := reconcile(); len(got) != 0 {
		t.Errorf("again: %q", got)
	}

	var wg sync.WaitGroup
	wg.Go(func() {
		for range hosts {
			if _, err := s.Expand(ctx, job, "test", 1); err != nil {
				t.Error(err)
			}
			states()
		}
	})
	for _, h := range targets[:hosts/2] {
		wg.Go(func() {
			if _, err := s.Cancel(ctx, job, []queue.HostID{h.Host}, "ann"); err != nil {
				t.Error(err)
			}
			states()
		})
	}
	moved := make(chan struct{})
	go func() { wg.Wait(); close(moved) }()
	for done := false; !done; {
		select {
		case <-moved:
			done = true
		default:
		}
		if got := reconcile(); len(got) != 0 {
			t.Errorf("while executions move: %q", got)
		}
	}
}
