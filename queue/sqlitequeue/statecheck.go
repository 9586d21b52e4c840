package sqlitequeue

import (
	"fmt"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// maxSuspects bounds how many state bytes of a job one Reconcile looks at in the writer. What is wrong beyond that is
// read anew with them.
const maxSuspects = 1000

// kept gives a copy of a job's bytes, and what of them is known to be stale; nil if none are kept, or they are just
// being read.
func (k *stateCache) kept(job int64) (states []byte, stale []span) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.jobs[job]
	if e == nil || e.reading != nil {
		return nil, nil
	}
	return slices.Clone(e.states), slices.Clone(e.stale)
}

// suspects lists the ordinals of a job at which the bytes that are kept aren't the stored ones: wrong ones, and some that
// a commit changes at this very moment.
func (k *stateCache) suspects(c *sqlite.Conn, job int64) (ordinals []int64, err error) {
	kept, _ := k.kept(job)
	if kept == nil {
		return nil, nil
	}
	stored, err := storedStates(c, job, span{0, int64(len(kept)) - 1})
	if err != nil || len(stored) != len(kept) {
		return nil, err
	}
	for i, b := range kept {
		if b != stored[i] && len(ordinals) < maxSuspects {
			ordinals = append(ordinals, int64(i))
		}
	}
	return ordinals, nil
}

// repair looks at them again in the writer, where all earlier commits are in what is kept, and this one is in t. If some
// are wrong, all of the job is read anew when it is asked for next after the commit. It says what was wrong.
func (k *stateCache) repair(t *tx, job int64, ordinals []int64) (line string, err error) {
	kept, stale := k.kept(job)
	if kept == nil {
		return "", nil
	}
	due := func(id int64) bool { // it changes with this commit, or is read anew anyway
		within := func(at int64) func(span) bool { return func(r span) bool { return r.from <= at && at <= r.to } }
		return slices.ContainsFunc(stale, within(ordinal(id))) || slices.ContainsFunc(t.ranges, within(id)) ||
			slices.ContainsFunc(t.moves, func(m move) bool { return m.id == id })
	}
	wrong := 0
	for _, at := range ordinals {
		id := firstID(job) + at
		if at >= int64(len(kept)) || due(id) {
			continue
		}
		var state queue.State
		if _, err := one(t.c, func(st *sqlite.Stmt) { state = colState(st, 0) }, `SELECT state FROM execution WHERE id = ?`, id); err != nil {
			return "", err
		}
		if byte(state) == kept[at] || state == 0 {
			continue
		}
		if wrong++; wrong == 1 {
			line = fmt.Sprintf("that of execution %d was %c, is %c", at, kept[at], state)
		}
	}
	if wrong == 0 {
		return "", nil
	}
	t.ranges = append(t.ranges, span{firstID(job), firstID(job) + int64(len(kept)) - 1})
	j, err := t.jobN(job)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("job %s: %d state bytes in memory were wrong: %s", j.id, wrong, line), nil
}
