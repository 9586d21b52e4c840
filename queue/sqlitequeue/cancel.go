package sqlitequeue

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Cancel ends the executions of a job: all if hosts is nil, or those of the
// hosts. For a whole job the intent is stored first, then it goes in steps.
func (s *Store) Cancel(ctx context.Context, job queue.JobID, hosts []queue.HostID, by string) (sum queue.Cancellation, err error) {
	if hosts != nil {
		return s.cancelHosts(ctx, job, hosts, by)
	}
	err = s.write(ctx, 1, func(t *tx) error {
		d, err := t.drive(job)
		if err != nil || d.cancelNext.ok {
			return err
		}
		if _, err := t.exec(`UPDATE job SET control = ? WHERE n = ?`, string(queue.ControlStopped), d.n); err != nil {
			return err
		}
		_, err = t.exec(`UPDATE progress SET open = 1, cancel_next = 0, cancelled_at = ?, cancelled_by = ? WHERE job = ?`, t.now, by, d.n)
		return err
	})
	for done := false; err == nil && !done; {
		var step queue.Cancellation
		err = s.write(ctx, maxStep, func(t *tx) error {
			step, done = queue.Cancellation{}, true
			d, err := t.drive(job)
			if err != nil || !d.open {
				return err
			}
			if step, done, err = t.cancelStep(d, maxStep); err != nil {
				return err
			}
			_, err = t.exec(`UPDATE progress SET open = ?, next = ? WHERE job = ?`, d.open, d.next, d.n)
			return err
		})
		sum.Cancelled += step.Cancelled
		sum.Asked += step.Asked
	}
	return sum, err
}

// cancelStep ends or flags the next executions of a cancelled job, up to limit
// ordinals. It changes d; the caller writes it.
func (t *tx) cancelStep(d *drive, limit int) (sum queue.Cancellation, done bool, err error) {
	begin := int(d.cancelNext.v)
	end := min(begin+limit, d.targets)
	from, to := firstID(d.n)+int64(begin), firstID(d.n)+int64(end)-1
	h := queue.Held{Execution: queue.Execution{State: queue.Planned}}
	h.Cancel(d.cancelledBy, t.now)
	for _, state := range [...]queue.State{queue.Planned, queue.Queued} {
		n, err := t.exec(`UPDATE execution SET state = ?, cancelled_at = ?, cancelled_by = ?, finished_at = ?, exit_code = ?, reason = ?, result_at = ?,
			turn = NULL, wake_at = NULL WHERE id BETWEEN ? AND ? AND state = ?`,
			h.State, h.CancelledAt, optText(h.CancelledBy), h.FinishedAt, h.Result.ExitCode, h.Result.Reason, h.Result.At, from, to, state)
		if err != nil {
			return sum, false, err
		}
		t.moved(d.n, state, queue.Cancelled, n)
		sum.Cancelled += n
	}
	t.ranges = append(t.ranges, span{from, to})
	var ids []hostExecution
	err = t.query(func(st *sqlite.Stmt) error {
		ids = append(ids, hostExecution{queue.HostID(st.ColumnText(0)), st.ColumnInt64(1)})
		return nil
	}, `SELECT h.id, x.id FROM execution x JOIN host h ON h.n = x.host WHERE x.id BETWEEN ? AND ? AND x.state IN ('l', 'a', 'r') AND x.cancelled_at IS NULL`, from, to)
	if err != nil {
		return sum, false, err
	}
	for _, x := range ids {
		if err := t.cancel(x, d.cancelledBy, &sum); err != nil {
			return sum, false, err
		}
	}
	d.cancelNext = some(int64(end))
	if done = end == d.targets; done {
		d.next, d.open = d.targets, false
	}
	_, err = t.exec(`UPDATE progress SET cancel_next = ? WHERE job = ?`, end, d.n)
	return sum, done, err
}

// hostExecution is an execution by number, and its host by name.
type hostExecution struct {
	host queue.HostID
	id   int64
}

// cancel ends or flags one execution.
func (t *tx) cancel(x hostExecution, by string, sum *queue.Cancellation) error {
	rows, err := t.rows(x.host, `SELECT `+rowColumns+` FROM execution x WHERE x.id = ?`, x.id)
	if err != nil || len(rows) == 0 {
		return err
	}
	r := rows[0]
	before := r.Held
	asked := r.Cancel(by, t.now)
	if r.State == before.State && r.CancelledAt.Equal(before.CancelledAt) {
		return nil
	}
	if r.State.Terminal() {
		sum.Cancelled++
	} else {
		sum.Asked++
	}
	if asked {
		if err := t.askCancel(r); err != nil {
			return err
		}
	}
	return t.save(r)
}

// askCancel gives the host's next number to a cancel message.
func (t *tx) askCancel(r *row) error {
	p, err := t.peer(r.Host)
	if err != nil || p == nil {
		return err
	}
	p.msgs++
	r.cancelN = p.msgs
	t.hint(p.gateway, r.Host)
	_, err = t.exec(`UPDATE session SET n = ? WHERE host = ?`, r.cancelN, r.host)
	return err
}

// cancelHosts ends the executions of some hosts.
func (s *Store) cancelHosts(ctx context.Context, job queue.JobID, hosts []queue.HostID, by string) (sum queue.Cancellation, err error) {
	var all []hostExecution
	var bad []string
	total := 0
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		n, err := jobNumber(c, job)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			ok, err := one(c, func(st *sqlite.Stmt) { all = append(all, hostExecution{h, st.ColumnInt64(0)}) },
				`SELECT x.id FROM host h JOIN execution x ON x.host = h.n WHERE h.id = ? AND x.id BETWEEN ? AND ?`, h, firstID(n), lastID(n))
			if err != nil {
				return err
			}
			if !ok {
				if total++; len(bad) < maxNamed {
					bad = append(bad, string(h))
				}
			}
		}
		return nil
	})
	if err == nil && total > 0 {
		err = missing(bad, total, "job %s: not among its targets", job)
	}
	for from := 0; err == nil && from < len(all); from += maxStep {
		var step queue.Cancellation
		part := all[from:min(from+maxStep, len(all))]
		err = s.write(ctx, len(part), func(t *tx) error {
			step = queue.Cancellation{}
			for _, x := range part {
				if err := t.cancel(x, by, &step); err != nil {
					return err
				}
			}
			return nil
		})
		sum.Cancelled += step.Cancelled
		sum.Asked += step.Asked
	}
	return sum, err
}
