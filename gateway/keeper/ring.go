package keeper

import (
	"context"
	"sync"

	"github.com/rexgate/rexgate/queue"
)

// ring hands jobs to drivers in turn: a job is with one driver at a time, and
// goes to the end of the line after each step. It is bounded; what doesn't fit is
// left out.
//
// Lock order: mu is a leaf.
type ring struct {
	wake chan struct{} // one token for each job in line

	mu    sync.Mutex
	line  []queue.JobID
	known map[queue.JobID]*place // in line or with a driver
}

type place struct {
	driven bool
	again  bool // added while it was with a driver
}

func newRing(max int) *ring {
	return &ring{wake: make(chan struct{}, max), known: map[queue.JobID]*place{}}
}

// add puts a job in line, unless it is there or there is no room.
func (r *ring) add(job queue.JobID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.known[job]; ok {
		p.again = p.driven
		return
	}
	r.enqueue(job)
}

// enqueue appends a job and its token; without room it does nothing. r.mu is held.
func (r *ring) enqueue(job queue.JobID) {
	select {
	case r.wake <- struct{}{}: // has capacity or is left: never blocks
		r.line = append(r.line, job)
		r.known[job] = &place{}
	default:
		delete(r.known, job)
	}
}

// take waits for a job and gives it to the caller, who must call done. It gives
// false when ctx ends.
func (r *ring) take(ctx context.Context) (queue.JobID, bool) {
	select {
	case <-ctx.Done():
		return "", false
	case <-r.wake:
	}
	if ctx.Err() != nil {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	job := r.line[0]
	r.line = r.line[1:]
	r.known[job].driven = true
	return job, true
}

// done gives a job back: to the end of the line if there is more to do, or if
// it was added meanwhile.
func (r *ring) done(job queue.JobID, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if more || r.known[job].again {
		r.enqueue(job)
		return
	}
	delete(r.known, job)
}
