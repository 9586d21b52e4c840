package sqlitequeue

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// execution is what readers see of a row.
func (r *row) execution(outputGone bool) queue.Execution {
	x := r.Execution
	x.Output.Deleted = outputGone && x.Output.Stdout+x.Output.Stderr+x.Output.Gap > 0
	return x
}

// Executions lists a job's executions, by ordinal. The cursor is the ordinal of
// the last one.
func (s *Store) Executions(ctx context.Context, q queue.ExecutionQuery) (xs []queue.Execution, next string, err error) {
	if err := queue.ValidateLimit(q.Limit); err != nil {
		return nil, "", err
	}
	after := int64(-1)
	if q.After != "" {
		if after, err = strconv.ParseInt(q.After, 10, ordinalBits+1); err != nil || after < 0 {
			return nil, "", badCursor(q.After)
		}
	}
	codes := ""
	for _, st := range q.States {
		if _, err := queue.ParseState(st.String()); err != nil {
			return nil, "", err
		}
		codes += stateCode(st)
	}
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		j, gone, err := readInfo(c, q.Job)
		if err != nil {
			return err
		}
		more := false
		err = query(c, func(st *sqlite.Stmt) error {
			if more = len(xs) == q.Limit; more {
				return nil
			}
			var r row
			if err := r.scan(st); err != nil {
				return err
			}
			r.identify(j, queue.HostID(st.ColumnText(rowWidth)))
			xs = append(xs, r.execution(gone))
			return nil
		}, `SELECT `+rowColumns+`, h.id FROM execution x JOIN host h ON h.n = x.host WHERE x.id BETWEEN ? AND ?
			AND (? = 1 OR instr(?, x.state) > 0) ORDER BY x.id LIMIT CAST(? AS INT)`,
			firstID(j.n)+after+1, lastID(j.n), q.States == nil, codes, q.Limit+1)
		if more {
			next = strconv.Itoa(xs[len(xs)-1].Ordinal)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return xs, next, nil
}

// Execution gives one execution.
func (s *Store) Execution(ctx context.Context, job queue.JobID, host queue.HostID) (x queue.Execution, err error) {
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		r, gone, err := readRow(c, job, host)
		if err == nil {
			x = r.execution(gone)
		}
		return err
	})
	return x, err
}

// readRow finds an execution by its job and host.
func readRow(c *sqlite.Conn, job queue.JobID, host queue.HostID) (r *row, outputGone bool, err error) {
	j, gone, err := readInfo(c, job)
	if err != nil {
		return nil, false, err
	}
	if r, err = rowOf(c, j, host); err == nil && r == nil {
		err = queue.Errorf(queue.NotFound, "host %.140q: not among the targets of job %s", string(host), job)
	}
	return r, gone, err
}

// rowOf finds a host's execution of a job; nil if there is none.
func rowOf(c *sqlite.Conn, j *jobInfo, host queue.HostID) (r *row, err error) {
	err = query(c, func(st *sqlite.Stmt) error {
		r = new(row)
		return r.scan(st)
	}, `SELECT `+rowColumns+` FROM host h CROSS JOIN execution x WHERE h.id = ? AND x.host = h.n AND x.id BETWEEN ? AND ?`, host, firstID(j.n), lastID(j.n))
	if err == nil && r != nil {
		r.identify(j, host)
	}
	return r, err
}

// Targets gives the targets from an ordinal on.
func (s *Store) Targets(ctx context.Context, job queue.JobID, from, limit int) (hosts []queue.HostID, err error) {
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		n, err := jobNumber(c, job)
		if err != nil {
			return err
		}
		return query(c, func(st *sqlite.Stmt) error {
			hosts = append(hosts, queue.HostID(st.ColumnText(0)))
			return nil
		}, `SELECT h.id FROM execution x JOIN host h ON h.n = x.host WHERE x.id BETWEEN ? AND ? ORDER BY x.id LIMIT CAST(? AS INT)`,
			firstID(n)+int64(max(from, 0)), lastID(n), max(limit, 0))
	})
	return hosts, err
}

// HostQueue lists a host's executions that are queued or in flight, in order
// of delivery.
func (s *Store) HostQueue(ctx context.Context, host queue.HostID, limit int) (xs []queue.Execution, err error) {
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		var n int64
		ok, err := one(c, func(st *sqlite.Stmt) { n = st.ColumnInt64(0) }, `SELECT n FROM host WHERE id = ?`, host)
		if err != nil || !ok {
			return err
		}
		var rows []*row
		err = query(c, func(st *sqlite.Stmt) error {
			r := new(row)
			rows = append(rows, r)
			return r.scan(st)
		}, `SELECT `+rowColumns+` FROM execution x INDEXED BY execution_live WHERE x.host = CAST(? AS INT) AND x.turn IS NOT NULL
			ORDER BY x.turn >= 0, x.lane <> 'urgent', x.lane, x.turn, x.id LIMIT CAST(? AS INT)`, n, max(limit, 0))
		if err != nil {
			return err
		}
		for _, r := range rows {
			var j *jobInfo
			if _, err := one(c, func(st *sqlite.Stmt) { j = readJobInfo(st) }, `SELECT `+jobInfoColumns+` FROM job WHERE n = ?`, r.id>>ordinalBits); err != nil {
				return err
			}
			r.identify(j, host)
		}
		// What is delayed stands behind what is due, but for its sweep.
		slices.SortStableFunc(rows, compareDelivery)
		for _, r := range rows {
			xs = append(xs, r.execution(false))
		}
		return nil
	})
	return xs, err
}

func compareDelivery(a, b *row) int {
	if a.State.InFlight() != b.State.InFlight() {
		if a.State.InFlight() {
			return -1
		}
		return 1
	}
	return cmp.Or(queue.CompareLanes(a.Lane, b.Lane), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.id, b.id))
}
