package queuetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/queue"
)

// model is a store as a person would write it down: maps, and queue.Held for
// each execution. Time in it goes by the store's clock in steps that are far
// from every deadline that is compared, so that a clock that runs by itself
// doesn't matter.
type model struct {
	clock queue.ServiceClock
	jobs  []*modelJob
	hosts map[queue.HostID]*modelHost
}

type modelJob struct {
	id      queue.JobID
	spec    queue.Spec
	targets []queue.Target // in the store's order

	compared []string // what was last compared of its executions
}

type modelHost struct {
	id          queue.HostID
	incarnation int64
	session     int64 // 0 = none
	slots       map[queue.Lane]int
	settled     int64 // messages up to here have arrived, as far as the store was told
	n           int64 // last message
	execs       []*modelExec
	cancels     map[*modelExec]int64 // asked for and not settled: their message's number, 0 = not given yet
	known       []queue.Delivery     // all that was ever delivered, for the agent to report on
	position    int64
}

type modelExec struct {
	queue.Held
	job      *modelJob
	n        int64         // of its delivery
	deadline time.Duration // service time: of the lease, or of silence
}

// The model's times. Both clocks move by modelStep, or the wall clock by a
// multiple of it; every deadline, and the sum of delay and pickup, lies a quarter of a
// step or more away from where they can then be.
const (
	modelStep   = time.Minute
	modelTTL    = 90 * time.Second
	modelPickup = 75 * time.Second
	modelDelay  = 85 * time.Second
	modelRun    = 30 * time.Second // with SilenceGrace 5.5 steps
)

func (h *modelHost) find(id queue.ExecutionID) *modelExec {
	for _, x := range h.execs {
		if x.ID() == id {
			return x
		}
	}
	return nil
}

// changed sets the deadline that follows from a change of state.
func (m *model) changed(x *modelExec, from queue.State, now time.Time) {
	if x.State != from && (x.State == queue.Accepted || x.State == queue.Running) {
		x.deadline = m.clock.At(now) + x.job.spec.SilenceAfter()
	}
}

func (h *modelHost) inFlight() (n int) {
	for _, x := range h.execs {
		if x.State.InFlight() {
			n++
		}
	}
	return n
}

// next is what fits the host's free slots, in order.
func (h *modelHost) next(now time.Time) (out []*modelExec) {
	used := map[queue.Lane]int{}
	var waiting []*modelExec
	for _, x := range h.execs {
		if x.State.InFlight() {
			used[x.Lane]++
		}
		if x.Deliverable(now) {
			waiting = append(waiting, x)
		}
	}
	slices.SortStableFunc(waiting, func(a, b *modelExec) int { // stable: execs are by age
		return cmp.Or(queue.CompareLanes(a.Lane, b.Lane), cmp.Compare(b.Priority, a.Priority))
	})
	for _, x := range waiting {
		if used[x.Lane] < queue.SlotsIn(h.slots, x.Lane) {
			used[x.Lane]++
			out = append(out, x)
		}
	}
	return out
}

// held is what the session holds beyond after, by number.
func (h *modelHost) held(after int64) (out []queue.Delivery) {
	for _, x := range h.execs {
		if x.State == queue.Leased && x.n > after {
			out = append(out, queue.Delivery{N: x.n, Execution: x.Execution, Token: x.Token})
		}
	}
	for x, n := range h.cancels {
		if n > after {
			out = append(out, queue.Delivery{N: n, Cancel: true, Execution: x.Execution})
		}
	}
	slices.SortFunc(out, func(a, b queue.Delivery) int { return cmp.Compare(a.N, b.N) })
	return out
}

// cancel asks for the end of an execution.
func (h *modelHost) cancel(x *modelExec, now time.Time) {
	if x.Cancel("bob", now) {
		h.cancels[x] = 0
	}
}

// end ends the session: its leases go back.
func (h *modelHost) end(now time.Time) {
	for _, x := range h.execs {
		x.EndLease(now)
	}
	h.session = 0
}

// tick does what a sweep does, after the service clock has moved.
func (m *model) tick(now time.Time) {
	m.clock = m.clock.Tick(now)
	for _, h := range m.hosts {
		for _, x := range h.execs {
			due := m.clock.Service >= x.deadline
			switch x.State {
			case queue.Leased:
				if due {
					x.EndLease(now)
				}
			case queue.Accepted, queue.Running:
				if due {
					x.Lose(queue.WhySilent, now)
				}
			}
			x.Expire(now)
		}
	}
}

// bubble lets rapid, which repeats and shrinks, judge failures in place of the
// test that it runs in.
type bubble struct {
	testing.TB
	r *rapid.T
}

func (b bubble) Helper()                      { b.r.Helper() }
func (b bubble) Log(args ...any)              { b.r.Log(args...) }
func (b bubble) Logf(f string, args ...any)   { b.r.Logf(f, args...) }
func (b bubble) Error(args ...any)            { b.r.Error(args...) }
func (b bubble) Errorf(f string, args ...any) { b.r.Errorf(f, args...) }
func (b bubble) Fatal(args ...any)            { b.r.Fatal(args...) }
func (b bubble) Fatalf(f string, args ...any) { b.r.Fatalf(f, args...) }
func (b bubble) Fail()                        { b.r.Fail() }
func (b bubble) FailNow()                     { b.r.FailNow() }
func (b bubble) Failed() bool                 { return b.r.Failed() }
