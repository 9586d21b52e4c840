package live

import (
	"context"
	"slices"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// jobsValue is the list of the newest jobs.
type jobsValue struct {
	epoch string
	list  []queue.JobStatus // newest first
	past  history[jobsChange]
}

// jobsChange names the jobs that a step changed or brought, and those that it took from the list.
type jobsChange struct{ changed, removed []queue.JobID }

const idSize = 32 // about, of a job's id in memory

func (v *Views) readJobs(ctx context.Context, _ struct{}, last *jobsValue) (*jobsValue, error) {
	list, _, err := v.store.ListJobs(ctx, "", api.MaxWatchedJobs)
	if err != nil {
		return nil, err
	}
	if last == nil {
		return &jobsValue{epoch: newEpoch(), list: list, past: history[jobsChange]{seq: 1}}, nil
	}
	before := make(map[queue.JobID]queue.JobStatus, len(last.list))
	for _, j := range last.list {
		before[j.ID] = j
	}
	var c jobsChange
	for _, j := range list {
		if old, ok := before[j.ID]; !ok || !SameJob(old, j) {
			c.changed = append(c.changed, j.ID)
		}
		delete(before, j.ID)
	}
	for id := range before {
		c.removed = append(c.removed, id)
	}
	if len(c.changed)+len(c.removed) == 0 {
		return last, nil
	}
	return &jobsValue{epoch: last.epoch, list: list, past: last.past.add(c, idSize*(1+len(c.changed)+len(c.removed)))}, nil
}

func (j *jobsValue) at() Position { return Position{Epoch: j.epoch, Seq: j.past.seq} }

func (j *jobsValue) whole() Update { return Update{Jobs: j.list} }

func (j *jobsValue) since(seq int64) (u Update, ok bool) {
	changes, ok := j.past.since(seq)
	if !ok {
		return u, false
	}
	changed, removed := map[queue.JobID]bool{}, map[queue.JobID]bool{}
	for _, c := range changes {
		for _, id := range c.changed {
			changed[id], removed[id] = true, false
		}
		for _, id := range c.removed {
			changed[id], removed[id] = false, true
		}
	}
	for _, s := range j.list {
		if changed[s.ID] {
			u.Jobs = append(u.Jobs, s)
		}
	}
	for id, gone := range removed {
		if gone {
			u.Removed = append(u.Removed, id)
		}
	}
	slices.Sort(u.Removed)
	return u, true
}

// size is about what the value takes in memory.
func (j *jobsValue) size() int {
	n := j.past.bytes
	for _, s := range j.list {
		n += 1024
		for k, v := range s.Spec.Env {
			n += len(k) + len(v)
		}
	}
	return n
}

// SameJob tells that nothing of a job that can change has changed.
func SameJob(a, b queue.JobStatus) bool {
	if a.Control != b.Control || !a.FinishedAt.Equal(b.FinishedAt) {
		return false
	}
	for _, s := range queue.States() {
		if a.Counters[s] != b.Counters[s] {
			return false
		}
	}
	return true
}
