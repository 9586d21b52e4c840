package live

import (
	"crypto/rand"
	"strings"
)

// Bounds of what a value knows of how it came about.
const (
	historySteps = 256
	historyBytes = 256 << 10
)

// history holds what each of the last steps of a value changed, the newest last. It is
// immutable.
type history[D any] struct {
	seq   int64 // that the newest step leads to
	steps []step[D]
	bytes int
}

type step[D any] struct {
	change D
	size   int
}

// add gives the history after one more step, without the oldest that there is no room for.
func (h history[D]) add(change D, size int) history[D] {
	steps, bytes := h.steps, h.bytes+size
	for len(steps) > 0 && (len(steps) >= historySteps || bytes > historyBytes) {
		bytes -= steps[0].size
		steps = steps[1:]
	}
	// A copy: values that others still hold share the steps.
	all := make([]step[D], len(steps), len(steps)+1)
	copy(all, steps)
	return history[D]{seq: h.seq + 1, steps: append(all, step[D]{change, size}), bytes: bytes}
}

// since gives the changes after a step; ok is false if they aren't known any more.
func (h history[D]) since(seq int64) (changes []D, ok bool) {
	missed := h.seq - seq
	if missed < 0 || missed > int64(len(h.steps)) {
		return nil, false
	}
	for _, s := range h.steps[len(h.steps)-int(missed):] {
		changes = append(changes, s.change)
	}
	return changes, true
}

// newEpoch makes a name for a row of values, other than any other's.
func newEpoch() string { return strings.ToLower(rand.Text()[:13]) }
