package sqlitequeue

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

const (
	retainPage  = 64   // jobs looked at in one go
	outputPiece = 1000 // chunks removed in one transaction
	recordPiece = 500  // executions removed in one transaction
)

// retain removes jobs whose executions have all ended, or their output, as far
// as keep says, oldest first, and what submits that broke off have left. A job
// becomes invisible at once, and goes piece by piece, within the budget.
func (s *Store) retain(ctx context.Context, budget int, keep queue.Retention) (deleted int, more bool, err error) {
	for _, r := range [...]rule{
		{recordsEnded, "record_bytes", keep.RecordAge, keep.RecordBytes, hide},
		{outputsEnded, "output_bytes", keep.OutputAge, keep.OutputBytes, dropOutput},
	} {
		for {
			jobs, err := s.excess(ctx, r)
			if err != nil {
				return deleted, false, err
			}
			if len(jobs) == 0 {
				break
			}
			if budget <= 0 {
				return deleted, true, nil
			}
			n := 0
			err = s.write(ctx, len(jobs), func(t *tx) error {
				n = 0
				for _, job := range jobs {
					changed, err := r.drop(t, job)
					if err != nil {
						return err
					}
					n += changed
				}
				return nil
			})
			if err != nil {
				return deleted, false, err
			}
			deleted += n
			budget -= len(jobs)
		}
	}
	more, err = s.collect(ctx, budget)
	return deleted, more, err
}

// rule bounds what is kept of jobs whose executions have all ended; 0 bounds
// nothing.
type rule struct {
	from   string // where they are listed
	column string // what they take
	age    time.Duration
	bytes  int64
	drop   func(t *tx, job int64) (changed int, err error)
}

// What takes room, each read from an index alone.
const (
	recordsEnded = `FROM progress INDEXED BY progress_finished WHERE finished_at IS NOT NULL`
	outputsEnded = `FROM progress INDEXED BY progress_output WHERE finished_at IS NOT NULL AND output_gone = 0 AND output_bytes > 0`
)

// hide makes a job invisible, and takes it from those that count.
func hide(t *tx, job int64) (int, error) {
	t.cache.drop(job)
	n, err := t.exec(`UPDATE job SET visible = 0 WHERE n = ? AND visible = 1`, job)
	if err != nil {
		return 0, err
	}
	_, err = t.exec(`UPDATE progress SET finished_at = NULL WHERE job = ?`, job)
	return n, err
}

func dropOutput(t *tx, job int64) (int, error) {
	return t.exec(`UPDATE progress SET output_gone = 1 WHERE job = ? AND output_gone = 0`, job)
}

// excess finds the oldest jobs that are older than the rule's age, or must go to
// get below its bytes.
func (s *Store) excess(ctx context.Context, r rule) (jobs []int64, err error) {
	if r.age <= 0 && r.bytes <= 0 {
		return nil, nil
	}
	oldest := s.now().Add(-r.age)
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		var total int64
		if r.bytes > 0 {
			if _, err := one(c, func(st *sqlite.Stmt) { total = st.ColumnInt64(0) }, `SELECT sum(`+r.column+`) `+r.from); err != nil {
				return err
			}
		}
		return query(c, func(st *sqlite.Stmt) error {
			old := r.age > 0 && !colTime(st, 1).After(oldest)
			large := r.bytes > 0 && total > r.bytes
			if old || large {
				jobs = append(jobs, st.ColumnInt64(0))
				total -= st.ColumnInt64(2)
			}
			return nil
		}, `SELECT job, finished_at, `+r.column+` `+r.from+` ORDER BY finished_at, job LIMIT CAST(? AS INT)`, retainPage)
	})
	return jobs, err
}

// collect removes what is invisible.
func (s *Store) collect(ctx context.Context, budget int) (more bool, err error) {
	for {
		var job int64
		var record bool
		found := false
		err := s.read(ctx, func(c *sqlite.Conn) error {
			found = false
			err := query(c, func(st *sqlite.Stmt) error {
				if !found && !s.submits.running(queue.JobID(st.ColumnText(1))) {
					found, job, record = true, st.ColumnInt64(0), true
				}
				return nil
			}, `SELECT n, id FROM job WHERE visible = 0 ORDER BY n`)
			if err != nil || found {
				return err
			}
			found, err = one(c, func(st *sqlite.Stmt) { job, record = st.ColumnInt64(0), false }, `SELECT job FROM progress WHERE output_gone = 1 ORDER BY job LIMIT 1`)
			return err
		})
		if err != nil || !found {
			return false, err
		}
		for done := false; !done; {
			if budget <= 0 {
				return true, nil
			}
			n := 0
			err := s.write(ctx, recordPiece, func(t *tx) (err error) {
				n, done, err = s.remove(t, job, record)
				return err
			})
			if err != nil {
				return false, err
			}
			budget -= max(n, 1)
		}
	}
}

// remove takes a piece of a job away: first of its output, then, if record is
// set, of all else.
func (s *Store) remove(t *tx, job int64, record bool) (n int, done bool, err error) {
	if record {
		var id string
		ok, err := one(t.c, func(st *sqlite.Stmt) { id = st.ColumnText(0) }, `SELECT id FROM job WHERE n = ? AND visible = 0`, job)
		if err != nil || !ok || s.submits.running(queue.JobID(id)) {
			return 0, true, err
		}
	}
	n, err = t.exec(`DELETE FROM output WHERE (execution, seq) IN (SELECT execution, seq FROM output WHERE execution BETWEEN ? AND ? LIMIT CAST(? AS INT))`, firstID(job), lastID(job), outputPiece)
	if err != nil || n == outputPiece {
		return n / 10, false, err
	}
	if !record {
		_, err := t.exec(`UPDATE progress SET output_gone = 2 WHERE job = ?`, job)
		return n / 10, true, err
	}
	if err := t.forgetNewest(job, recordPiece); err != nil {
		return n, false, err
	}
	n, err = t.exec(`DELETE FROM execution WHERE id IN (SELECT id FROM execution WHERE id BETWEEN ? AND ? ORDER BY id LIMIT CAST(? AS INT))`, firstID(job), lastID(job), recordPiece)
	if err != nil || n == recordPiece {
		return n, false, err
	}
	t.cache.drop(job)
	if err := t.forgetKey(job); err != nil {
		return n, false, err
	}
	for _, sql := range [...]string{
		`DELETE FROM idempotency WHERE job = ?`, `DELETE FROM job_payload WHERE job = ?`, `DELETE FROM progress WHERE job = ?`, `DELETE FROM job WHERE n = ?`,
	} {
		if _, err := t.exec(sql, job); err != nil {
			return n, false, err
		}
	}
	return n, true, nil
}

// outputGone tells whether retention has removed a job's output.
func (t *tx) outputGone(job int64) (bool, error) {
	return t.exists(`SELECT 1 FROM progress WHERE job = ? AND output_gone <> 0`, job)
}
