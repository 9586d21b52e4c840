package faults

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/client/operator"
)

// lurePatience is how long a fault waits for an execution in the state that it is to strike in.
const lurePatience = 3 * time.Second

// lure brings an execution of the victim's into the state that the fault is to strike in, if it can. What holds it there ends by the
// function that it gives.
func (r *run) lure(ctx context.Context, f fault, v victim, st *strike) (release func()) {
	release = func() {}
	ctx, cancel := context.WithTimeout(ctx, lurePatience)
	defer cancel()
	switch {
	case f.Column == colPlanned:
		if err := r.load.rush(ctx, v.hosts, Plan{Lines: 2, Pad: 4}); err != nil { // another fault is in the way
			st.Err = "not planned: " + err.Error()
		}
	case v.real != nil:
		return r.lureReal(ctx, f, v, st)
	case f.Point != "":
		c := v.crew
		if c == nil {
			c = r.w.crews[f.How%uint64(len(r.w.crews))]
			if !c.busy.TryLock() {
				return release
			}
			release = func() { c.release(); c.busy.Unlock() }
		} else {
			release = func() { c.release() }
		}
		st.Held = c.catch(ctx, f.Point, v.hosts, lurePatience)
	}
	return release
}

// lureReal gives a real host work, slows its connections down, so that its executions stay longer in each state, and waits till one is
// in the wanted state.
func (r *run) lureReal(ctx context.Context, f fault, v victim, st *strike) (release func()) {
	release = func() {}
	links := r.w.links[v.real.host]
	if v.links == nil && (f.Column == colLeased || f.Column == colAccepted) { // else another delay is the fault
		for _, l := range links {
			l.delay.Store(int64(100 * time.Millisecond))
		}
		release = func() {
			for _, l := range links {
				l.delay.Store(0)
			}
		}
	}
	op := r.w.gateways[int(f.How%uint64(len(r.w.gateways)))].op
	seen := map[string]bool{}
	for first := true; pause(ctx, 10*time.Millisecond) == nil; {
		queue, err := hostQueue(ctx, op, v.real.host)
		if err != nil {
			continue
		}
		if first && len(queue) < 4 {
			// A script that doesn't end by itself shows whether somebody ends it.
			plan := Plan{Lines: 6, Pad: 4, Every: 2, Pause: 100, Endless: f.How>>20&1 == 0}
			if r.load.rush(ctx, v.hosts, plan) != nil {
				return release
			}
		}
		first = false
		for id := range seen {
			if _, there := queue[id]; !there && f.Column == colEnded {
				st.Held = id
				return release
			}
		}
		for id, state := range queue {
			seen[id] = true
			if state == string(f.Column) {
				st.Held = id
				return release
			}
		}
	}
	return release
}

// hostQueue gives the states of a host's executions that have not ended.
func hostQueue(ctx context.Context, op *operator.Client, host string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	xs, err := op.HostQueue(ctx, host)
	states := map[string]string{}
	for _, x := range xs {
		states[x.ID] = x.State
	}
	return states, err
}
