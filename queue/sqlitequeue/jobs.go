package sqlitequeue

import (
	"context"
	"strconv"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

const jobColumns = `j.id, j.control, j.name, j.lane, j.priority, j.not_before, j.pickup_timeout, j.run_timeout, j.grace, j.output_limit,
	j.run_as, j.dir, j.script_size, j.script_sha256, j.created_at, j.created_by, j.rerun_of, j.selection, j.targets,
	y.env, p.finished_at, p.planned, p.queued, p.leased, p.accepted, p.running, p.succeeded, p.failed, p.timed_out,
	p.cancelled, p.expired, p.rejected, p.lost, j.n,
	j.offline, j.recheck, (SELECT key FROM supersede_key k WHERE k.n = j.supersede_key)`

const jobTables = ` FROM job j JOIN progress p ON p.job = j.n JOIN job_payload y ON y.job = j.n `

func readJob(st *sqlite.Stmt) (queue.JobStatus, error) {
	env, err := fromJSON[map[string]string](st.ColumnText(19))
	j := queue.JobStatus{
		Job: queue.Job{
			ID: queue.JobID(st.ColumnText(0)), Control: queue.Control(st.ColumnText(1)),
			Spec: queue.Spec{
				Name: st.ColumnText(2), Lane: queue.Lane(st.ColumnText(3)), Priority: st.ColumnInt(4), NotBefore: colTime(st, 5),
				PickupTimeout: colDuration(st, 6), RunTimeout: colDuration(st, 7), Grace: colDuration(st, 8), OutputLimit: st.ColumnInt64(9),
				User: st.ColumnText(10), Dir: st.ColumnText(11), Env: env,
				Offline: queue.OfflinePolicy(st.ColumnText(34)), Recheck: st.ColumnText(35), SupersedeKey: st.ColumnText(36),
			},
			ScriptSize: st.ColumnInt64(12), ScriptSHA256: st.ColumnText(13), CreatedAt: colTime(st, 14), CreatedBy: st.ColumnText(15),
			RerunOf: queue.JobID(st.ColumnText(16)), Selection: st.ColumnText(17), Targets: st.ColumnInt(18),
		},
		FinishedAt: colTime(st, 20),
		Counters:   queue.Counters{},
	}
	for i, state := range queue.States() {
		if n := st.ColumnInt(21 + i); n != 0 {
			j.Counters[state] = n
		}
	}
	return j, err
}

// Job gives a job and its counters.
func (s *Store) Job(ctx context.Context, id queue.JobID) (j queue.JobStatus, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		found := false
		err := query(c, func(st *sqlite.Stmt) (err error) {
			found = true
			j, err = readJob(st)
			return err
		}, `SELECT `+jobColumns+jobTables+`WHERE j.id = ? AND j.visible = 1`, id)
		if err == nil && !found {
			err = jobNotFound(id)
		}
		return err
	})
	return j, err
}

// ListJobs lists jobs, newest first. The cursor is the number of the last job.
func (s *Store) ListJobs(ctx context.Context, after string, limit int) (jobs []queue.JobStatus, next string, err error) {
	if err := queue.ValidateLimit(limit); err != nil {
		return nil, "", err
	}
	before := int64(1) << 62
	if after != "" {
		if before, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, "", badCursor(after)
		}
	}
	err = s.read(ctx, func(c *sqlite.Conn) error {
		last, more := int64(0), false
		err := query(c, func(st *sqlite.Stmt) error {
			if more = len(jobs) == limit; more {
				return nil
			}
			j, err := readJob(st)
			jobs, last = append(jobs, j), st.ColumnInt64(33)
			return err
		}, `SELECT `+jobColumns+jobTables+`WHERE j.n < ? AND j.visible = 1 ORDER BY j.n DESC LIMIT CAST(? AS INT)`, before, limit+1)
		if more {
			next = strconv.FormatInt(last, 10)
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return jobs, next, nil
}

func badCursor(cursor string) error {
	return queue.Errorf(queue.Invalid, "cursor %.60q: not one of this listing", cursor)
}

// Script gives a job's payload.
func (s *Store) Script(ctx context.Context, id queue.JobID) (script []byte, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		ok, err := one(c, func(st *sqlite.Stmt) { script = colBytes(st, 0) },
			`SELECT y.script FROM job j JOIN job_payload y ON y.job = j.n WHERE j.id = ? AND j.visible = 1`, id)
		if err == nil && !ok {
			err = jobNotFound(id)
		}
		return err
	})
	return script, err
}

// jobNumber finds a job's number by its id.
func jobNumber(c *sqlite.Conn, id queue.JobID) (n int64, err error) {
	ok, err := one(c, func(st *sqlite.Stmt) { n = st.ColumnInt64(0) }, `SELECT n FROM job WHERE id = ? AND visible = 1`, id)
	if err == nil && !ok {
		err = jobNotFound(id)
	}
	return n, err
}

// readInfo is tx.job for readers.
func readInfo(c *sqlite.Conn, id queue.JobID) (j *jobInfo, outputGone bool, err error) {
	_, err = one(c, func(st *sqlite.Stmt) { j, outputGone = readJobInfo(st), st.ColumnBool(jobInfoWidth) },
		`SELECT `+jobInfoColumns+`, output_gone FROM job JOIN progress ON job = n WHERE id = ? AND visible = 1`, id)
	if err == nil && j == nil {
		err = jobNotFound(id)
	}
	return j, outputGone, err
}
