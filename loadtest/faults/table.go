package faults

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// cell is a place in the table.
type cell struct {
	kind   string
	column column
}

// strikesOn notes in which state an execution was when faults struck its host, by its record.
func (c *checker) strikesOn(created time.Time, x *queue.Execution) {
	for _, host := range []string{"", string(x.Host)} {
		for _, st := range c.struck[host] {
			if col, ok := columnAt(created, x, st.At); ok {
				st.mark(col)
			}
		}
	}
}

// columnAt is what an execution was at a time.
func columnAt(created time.Time, x *queue.Execution, at time.Time) (column, bool) {
	before := func(t time.Time) bool { return t.IsZero() || at.Before(t) }
	switch {
	case at.Before(created):
		return "", false
	case !x.FinishedAt.IsZero() && !at.Before(x.FinishedAt):
		return colEnded, at.Sub(x.FinishedAt) < time.Second
	case before(x.ReleasedAt):
		return colPlanned, true
	case before(x.LeasedAt):
		return colQueued, true
	case before(x.AcceptedAt):
		return colLeased, true
	case before(x.StartedAt):
		return colAccepted, true
	}
	return colRunning, true
}

// mark notes that a strike struck something in a column.
func (s *strike) mark(c column) {
	if s.struck == nil {
		s.struck = map[column]int{}
	}
	s.struck[c]++
}

// Result is what came of a run.
type Result struct {
	Violations []string
	Executions int
	Faults     int
	Table      string         // faults of each kind, by the states they struck in
	Struck     map[string]int // how often each kind struck
	Empty      []string       // states in which nothing was struck
	Notes      []string       // what is no violation, and good to know
}

// tally sums the rounds of a run up.
type tally struct {
	names      []string
	rounds     int
	total      int // violations
	violations []string
	executions int
	faults     int
	cells      map[cell]int
	struck     map[string]int
	missed     int
	notes      []string
}

func newTally(names []string) *tally {
	return &tally{names: names, cells: map[cell]int{}, struck: map[string]int{}}
}

// add takes a round over.
func (t *tally) add(r *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.rounds++
	t.total += r.total
	t.executions += r.seen
	for _, v := range r.violations {
		t.violations = append(t.violations, fmt.Sprintf("(seed %d) %v", r.cfg.Seed, v))
	}
	if n := r.total - len(r.violations); n > 0 {
		t.violations = append(t.violations, fmt.Sprintf("(seed %d) and %d more", r.cfg.Seed, n))
	}
	for _, st := range r.strikes {
		if st.Missed {
			t.missed++
			continue
		}
		t.faults++
		t.struck[st.Kind]++
		for col := range st.struck {
			t.cells[cell{st.Kind, col}]++
		}
	}
	slices.Sort(r.notes)
	t.notes = append(t.notes, r.notes...)
}

// result writes the table.
func (t *tally) result() Result {
	res := Result{Executions: t.executions, Faults: t.faults, Violations: t.violations, Struck: map[string]int{}, Notes: t.notes}
	if t.missed > 0 {
		res.Notes = append(res.Notes, fmt.Sprintf("%d faults found nothing to strike, and aren't counted", t.missed))
	}
	sums := map[column]int{}
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s %7s", "fault", "struck")
	for _, col := range columns() {
		fmt.Fprintf(&b, " %9s", col)
	}
	b.WriteByte('\n')
	for _, k := range t.names {
		res.Struck[k] = t.struck[k]
		fmt.Fprintf(&b, "%-22s %7d", k, t.struck[k])
		for _, col := range columns() {
			fmt.Fprintf(&b, " %9d", t.cells[cell{k, col}])
			sums[col] += t.cells[cell{k, col}]
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%-22s %7d", "all", t.faults)
	for _, col := range columns() {
		fmt.Fprintf(&b, " %9d", sums[col])
		if sums[col] == 0 {
			res.Empty = append(res.Empty, string(col))
		}
	}
	b.WriteByte('\n')
	res.Table = b.String()
	return res
}
