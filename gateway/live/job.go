package live

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// manyStates: where more than one of so many states has changed, all of them are told.
const manyStates = 8

// jobValue is a job with the states of its hosts.
type jobValue struct {
	epoch   string
	status  queue.JobStatus
	states  []byte
	settled bool // all have ended, and their states were read after that: they stay so
	past    history[statesChange]
}

// statesChange names the ordinals whose states a step changed; many if too many to be named.
type statesChange struct {
	ordinals []int32
	many     bool
}

func (v *Views) readJob(ctx context.Context, id queue.JobID, last *jobValue) (*jobValue, error) {
	status, err := v.store.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	same := last != nil && SameJob(last.status, status)
	if same && last.settled {
		return last, nil
	}
	states, err := v.store.States(ctx, id)
	if err != nil {
		return nil, err
	}
	j := &jobValue{status: status, states: states, settled: !status.FinishedAt.IsZero()}
	if last == nil {
		j.epoch, j.past = newEpoch(), history[statesChange]{seq: 1}
		return j, nil
	}
	j.epoch, j.past = last.epoch, last.past
	if same && bytes.Equal(last.states, states) {
		return j, nil
	}
	c := compare(last.states, states)
	j.past = last.past.add(c, 64+4*len(c.ordinals))
	return j, nil
}

// compare names the states that differ.
func compare(old, now []byte) (c statesChange) {
	if len(old) != len(now) {
		return statesChange{many: true}
	}
	for i := range now {
		if old[i] == now[i] {
			continue
		}
		if len(c.ordinals) >= len(now)/manyStates {
			return statesChange{many: true}
		}
		c.ordinals = append(c.ordinals, int32(i))
	}
	return c
}

func (j *jobValue) at() Position { return Position{Epoch: j.epoch, Seq: j.past.seq} }

func (j *jobValue) whole() Update { return Update{Job: &j.status, States: j.states} }

func (j *jobValue) since(seq int64) (u Update, ok bool) {
	changes, ok := j.past.since(seq)
	if !ok {
		return u, false
	}
	u.Job = &j.status
	var ordinals []int32
	for _, c := range changes {
		ordinals = append(ordinals, c.ordinals...)
		if c.many || len(ordinals) > 2*len(j.states) {
			u.States = j.states
			return u, true
		}
	}
	slices.Sort(ordinals)
	ordinals = slices.Compact(ordinals)
	if len(ordinals) > len(j.states)/manyStates {
		u.States = j.states
		return u, true
	}
	for _, i := range ordinals {
		u.Changes = append(u.Changes, Change{Ordinal: int(i), State: queue.State(j.states[i])})
	}
	return u, true
}

func (j *jobValue) size() int {
	n := 1024 + len(j.states) + j.past.bytes
	for k, v := range j.status.Spec.Env {
		n += len(k) + len(v)
	}
	return n
}

// pace lets a job that has ended be; it can still be deleted.
func (j *jobValue) pace() Pace {
	if j.settled {
		return Pace{Soonest: time.Second, Shortest: time.Second, Longest: 5 * time.Second, Rest: 20}
	}
	return listPace
}

// listPace is the pace of jobs and of a job: reading either may cost much.
var listPace = Pace{Soonest: 50 * time.Millisecond, Shortest: 100 * time.Millisecond, Longest: time.Second, Rest: 20}
