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

// cellsOf takes over what the checker found.
func (r *run) cellsOf(c *checker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = c.seen
}

// result sums up.
func (r *run) result() Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := Result{Executions: r.seen, Faults: len(r.strikes), Notes: r.notes}
	for _, v := range r.violations {
		res.Violations = append(res.Violations, v.String())
	}
	if n := r.total - len(r.violations); n > 0 {
		res.Violations = append(res.Violations, fmt.Sprintf("and %d more", n))
	}
	names, _ := chooseKinds(r.cfg)
	cells, sums, perKind := map[cell]int{}, map[column]int{}, map[string]int{}
	for _, st := range r.strikes {
		perKind[st.Kind]++
		for col := range st.struck {
			cells[cell{st.Kind, col}]++
			sums[col]++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s %7s", "fault", "struck")
	for _, col := range columns() {
		fmt.Fprintf(&b, " %9s", col)
	}
	b.WriteByte('\n')
	for _, k := range names {
		fmt.Fprintf(&b, "%-22s %7d", k, perKind[k])
		for _, col := range columns() {
			fmt.Fprintf(&b, " %9d", cells[cell{k, col}])
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%-22s %7d", "all", len(r.strikes))
	for _, col := range columns() {
		fmt.Fprintf(&b, " %9d", sums[col])
		if sums[col] == 0 {
			res.Empty = append(res.Empty, string(col))
		}
	}
	b.WriteByte('\n')
	res.Table = b.String()
	res.Struck = perKind
	slices.Sort(res.Notes)
	return res
}
