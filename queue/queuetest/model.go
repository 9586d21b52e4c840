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
	alive time.Duration // service time: until when the gateway lives
	jobs  []*modelJob
	hosts map[queue.HostID]*modelHost
}

type modelJob struct {
	id      queue.JobID
	spec    queue.Spec
	targets []queue.Target // in the store's order

	compared []string  // what was last compared of its executions
	shown    queue.Job // as the store gave it: its age
}

type modelHost struct {
	id          queue.HostID
	incarnation int64
	session     int64  // 0 = none
	generation  string // of its owner
	slots       map[queue.Lane]int
	color       string               // label
	newest      map[string]*modelJob // by supersede key
	settled     int64                // messages up to here have arrived, as far as the store was told
	n           int64                // last message
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
	due      bool          // was seen to be due
}

// The model's times. Both clocks move by modelStep, or the wall clock by a
// multiple of it; every deadline, and the sum of delay and pickup, lies a quarter of a
// step or more away from where they can then be.
const (
	modelStep   = time.Minute
	modelTTL    = 90 * time.Second
	modelPickup = 75 * time.Second
	modelDelay  = 85 * time.Second
	modelAlive  = 90 * time.Second
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

// becomesDue does what a policy asks for when an execution's time has come.
func (m *model) becomesDue(h *modelHost, x *modelExec, now time.Time) {
	if x.State != queue.Queued || x.due || x.NotBefore.After(now) {
		return
	}
	x.due = true
	if x.job.spec.Offline == queue.OfflineSkip && (h.session == 0 || m.clock.At(now) >= m.alive) {
		x.Withdraw(queue.WhyOffline, now)
	}
}

// release is what Expand does to a target.
func (m *model) release(h *modelHost, x *modelExec, now time.Time) {
	if x.State != queue.Planned {
		return
	}
	if x.Incarnation != h.incarnation {
		x.Void(now)
		return
	}
	if key := x.job.spec.SupersedeKey; key != "" {
		before := h.newest[key]
		if before != nil && before.shown.Newer(x.job.shown) {
			x.Withdraw(queue.WhySuperseded(before.id), now)
			return
		}
		if h.newest[key] = x.job; before != nil {
			h.find(queue.NewExecutionID(before.id, h.id)).Withdraw(queue.WhySuperseded(x.job.id), now)
		}
	}
	x.Held.Release(x.job.spec, now)
	m.becomesDue(h, x, now)
}

// next is what fits the host's free slots, in order. What the host's labels don't match is withdrawn on the way.
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
			if want := x.job.spec.Recheck; want != "" && want != "color="+h.color {
				x.Withdraw(queue.WhyUnselected, now)
				continue
			}
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
			m.becomesDue(h, x, now)
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
