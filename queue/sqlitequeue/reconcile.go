package sqlitequeue

import (
	"context"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// misplaced finds executions x whose place in queue and deadlines isn't that of their state, which row.places gives. What is
// queued has its turn, or waits for its job's not_before, until a sweep after that. lapse_at follows from no record.
const misplaced = `CASE
	WHEN state = 'q' THEN lapse_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM job m WHERE m.n = x.id >> 20
		AND ((turn, wake_at) IS (100 - m.priority, deliver_until) OR (turn, wake_at) IS (m.not_before, m.not_before) AND turn IS NOT NULL))
	WHEN state IN ('l', 'a', 'r') THEN turn IS NOT -1 OR wake_at IS NOT NULL OR lapse_at IS NULL
	ELSE turn IS NOT NULL OR wake_at IS NOT NULL OR lapse_at IS NOT NULL END`

// Reconcile checks jobs against their records: up to budget of them, going on
// where the last call ended, then from the start again. It looks on a reader's
// connection, and goes to the writer for what must be repaired.
func (s *Store) Reconcile(ctx context.Context, budget int) (repairs []string, err error) {
	for range max(budget, 0) {
		var job int64
		var found []string
		var suspects []int64
		err := s.snapshot(ctx, func(c *sqlite.Conn) error {
			ok, err := one(c, func(st *sqlite.Stmt) { job = st.ColumnInt64(0) }, `SELECT n FROM job WHERE n > ? AND visible = 1 ORDER BY n LIMIT 1`, s.reconcileAfter.Load())
			if err != nil || !ok {
				job = 0
				return err
			}
			if found, err = differences(c, job); err == nil {
				suspects, err = s.states.suspects(c, job)
			}
			return err
		})
		if err != nil {
			return repairs, err
		}
		s.reconcileAfter.Store(job) // 0 at the end: from the start next time
		if job == 0 {
			return repairs, nil
		}
		if len(found) == 0 && len(suspects) == 0 {
			continue
		}
		err = s.write(ctx, maxWeight, func(t *tx) error {
			if err := t.flush(); err != nil { // the counters as of now
				return err
			}
			if found, err = differences(t.c, job); err == nil && len(found) > 0 {
				err = t.repair(job)
			}
			if err != nil {
				return err
			}
			line, err := s.states.repair(t, job, suspects)
			if line != "" {
				found = append(found, line)
			}
			return err
		})
		if err != nil {
			return repairs, err
		}
		repairs = append(repairs, found...)
	}
	return repairs, nil
}

// differences lists what is wrong with a job, one line each.
func differences(c *sqlite.Conn, job int64) (lines []string, err error) {
	var id string
	if _, err := one(c, func(st *sqlite.Stmt) { id = st.ColumnText(0) }, `SELECT id FROM job WHERE n = ? AND visible = 1`, job); err != nil || id == "" {
		return nil, err
	}
	note := func(format string, args ...any) {
		lines = append(lines, "job "+id+": "+fmt.Sprintf(format, args...))
	}
	kept := queue.Counters{}
	if err := query(c, func(st *sqlite.Stmt) error {
		for i, state := range queue.States() {
			kept[state] = st.ColumnInt(i)
		}
		return nil
	}, `SELECT planned, queued, leased, accepted, running, succeeded, failed, timed_out, cancelled, expired, rejected, lost FROM progress WHERE job = ?`, job); err != nil {
		return nil, err
	}
	real := queue.Counters{}
	wrong := 0
	if err := query(c, func(st *sqlite.Stmt) error {
		real[colState(st, 0)] = st.ColumnInt(1)
		wrong += st.ColumnInt(2)
		return nil
	}, `SELECT state, count(*), total(`+misplaced+`) FROM execution x WHERE id BETWEEN ? AND ? GROUP BY state`, firstID(job), lastID(job)); err != nil {
		return nil, err
	}
	for _, state := range queue.States() {
		if kept[state] != real[state] {
			note("counter %v was %d, is %d", state, kept[state], real[state])
		}
	}
	if wrong > 0 {
		note("%d executions had a wrong place in their queue, slots or deadlines", wrong)
	}
	err = query(c, func(st *sqlite.Stmt) error {
		open := real[queue.Planned] > 0 || (!st.ColumnIsNull(2) && st.ColumnInt(2) < st.ColumnInt(3))
		if open && !st.ColumnBool(0) {
			note("was taken as expanded, has %d planned targets", real[queue.Planned])
		}
		if ended := real.Done() == st.ColumnInt(3); ended == st.ColumnIsNull(1) {
			note("was taken as ended: %v, is: %v", !ended, ended)
		}
		return nil
	}, `SELECT p.open, p.finished_at, p.cancel_next, j.targets FROM progress p JOIN job j ON j.n = p.job WHERE p.job = ?`, job)
	if err == nil {
		err = outputDifferences(c, job, note)
	}
	if err == nil {
		err = newestDifferences(c, job, note)
	}
	return lines, err
}

// outputDifferences compares what executions say of their output with what is
// there.
func outputDifferences(c *sqlite.Conn, job int64, note func(string, ...any)) error {
	if err := query(c, func(st *sqlite.Stmt) error {
		note("execution %d has %d bytes of stdout and %d of stderr, said %d and %d", st.ColumnInt64(0)&(1<<ordinalBits-1),
			st.ColumnInt64(1), st.ColumnInt64(2), st.ColumnInt64(3), st.ColumnInt64(4))
		return nil
	}, outputSums+` LIMIT 100`, firstID(job), lastID(job), job); err != nil {
		return err
	}
	return query(c, func(st *sqlite.Stmt) error {
		note("bytes of output were %d, are %d", st.ColumnInt64(0), st.ColumnInt64(1))
		return nil
	}, `SELECT p.output_bytes, y.bytes FROM progress p, (SELECT coalesce(sum(coalesce(stdout, 0) + coalesce(stderr, 0)), 0) AS bytes FROM execution WHERE id BETWEEN ? AND ?) y
		WHERE p.job = ? AND p.output_bytes <> y.bytes`, firstID(job), lastID(job), job)
}

// outputSums finds executions of a job whose output isn't as they say.
const outputSums = `SELECT x.id, coalesce(o.out, 0), coalesce(o.err, 0), coalesce(x.stdout, 0), coalesce(x.stderr, 0)
	FROM execution x LEFT JOIN (SELECT execution, total(length(data)) FILTER (WHERE stream = 'stdout') AS out, total(length(data)) FILTER (WHERE stream = 'stderr') AS err
		FROM output WHERE execution BETWEEN ?1 AND ?2 GROUP BY execution) o ON o.execution = x.id
	WHERE x.id BETWEEN ?1 AND ?2 AND (SELECT output_gone FROM progress WHERE job = ?3) = 0
	AND (coalesce(o.out, 0) <> coalesce(x.stdout, 0) OR coalesce(o.err, 0) <> coalesce(x.stderr, 0))`

// newestWrong finds executions of a job that were released, where the newest job of its key on the host is said to be
// an older one, or where they wait though it is a newer one, or though there is none. None is right once retention has
// removed the newest: only what still waits tells that none can have been.
const newestWrong = `SELECT x.id, h.id, o.id, (o.created_at, o.id) > (j.created_at, j.id) AS newer
	FROM job j JOIN execution x ON x.id BETWEEN ?2 AND ?3 JOIN host h ON h.n = x.host
	LEFT JOIN newest n ON n.supersede_key = j.supersede_key AND n.host = x.host LEFT JOIN job o ON o.n = n.job
	WHERE j.n = ?1 AND j.supersede_key IS NOT NULL AND x.released_at IS NOT NULL AND o.n IS NOT j.n
	AND CASE WHEN o.n IS NULL THEN x.state = 'q' OR x.state = 'l' AND x.cancelled_at IS NULL ELSE NOT newer OR x.state = 'q' END`

func newestDifferences(c *sqlite.Conn, job int64, note func(string, ...any)) error {
	older, waiting, missing := 0, 0, 0
	err := query(c, func(st *sqlite.Stmt) error {
		switch {
		case st.ColumnIsNull(2):
			missing++
		case st.ColumnBool(3):
			waiting++
		default:
			older++
		}
		return nil
	}, newestWrong, job, firstID(job), lastID(job))
	if older > 0 {
		note("on %d hosts an older job was taken as the newest of its key", older)
	}
	if missing > 0 {
		note("on %d hosts it was missing as the newest of its key", missing)
	}
	if waiting > 0 {
		note("%d executions waited though a newer job of their key was released", waiting)
	}
	return err
}

// repairNewest makes a job the newest of its key where it is, and withdraws what waits where it isn't.
func (t *tx) repairNewest(job int64) error {
	type wrong struct {
		hostExecution
		other queue.JobID
		newer bool
	}
	var all []wrong
	if err := t.query(func(st *sqlite.Stmt) error {
		all = append(all, wrong{hostExecution{queue.HostID(st.ColumnText(1)), st.ColumnInt64(0)}, queue.JobID(st.ColumnText(2)), st.ColumnBool(3)})
		return nil
	}, newestWrong, job, firstID(job), lastID(job)); err != nil {
		return err
	}
	for _, x := range all {
		r, err := t.byID(x.hostExecution)
		if err != nil {
			return err
		}
		if x.newer {
			err = t.withdraw(r, queue.WhySuperseded(x.other))
		} else {
			_, err = t.exec(`INSERT OR REPLACE INTO newest VALUES (?, ?, ?)`, r.job.key, r.host, job)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repair makes a job's counters, places and sums what its records say.
func (t *tx) repair(job int64) error {
	type sums struct{ id, out, err, saidOut, saidErr int64 }
	var short []sums
	if err := t.query(func(st *sqlite.Stmt) error {
		short = append(short, sums{st.ColumnInt64(0), st.ColumnInt64(1), st.ColumnInt64(2), st.ColumnInt64(3), st.ColumnInt64(4)})
		return nil
	}, outputSums, firstID(job), lastID(job), job); err != nil {
		return err
	}
	for _, x := range short { // what is missing is a gap
		if _, err := t.exec(`UPDATE execution SET stdout = ?, stderr = ?, gap = coalesce(gap, 0) + ? WHERE id = ?`,
			x.out, x.err, max(0, x.saidOut-x.out)+max(0, x.saidErr-x.err), x.id); err != nil {
			return err
		}
	}
	if err := t.repairNewest(job); err != nil {
		return err
	}
	if err := t.flush(); err != nil { // what it moved; the counters follow from the records below
		return err
	}
	if err := t.replace(job); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE progress SET (planned, queued, leased, accepted, running, succeeded, failed, timed_out, cancelled, expired, rejected, lost, output_bytes) =
		(SELECT total(state = 'p'), total(state = 'q'), total(state = 'l'), total(state = 'a'), total(state = 'r'), total(state = 's'), total(state = 'f'),
			total(state = 't'), total(state = 'c'), total(state = 'e'), total(state = 'j'), total(state = 'x'), total(coalesce(stdout, 0) + coalesce(stderr, 0))
			FROM execution WHERE id BETWEEN ?1 AND ?2) WHERE job = ?3`, firstID(job), lastID(job), job)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE progress SET
		open = planned > 0 OR coalesce(cancel_next < (SELECT targets FROM job WHERE n = ?1), 0),
		next = CASE WHEN planned > 0 THEN (SELECT min(id) FROM execution WHERE id BETWEEN ?2 AND ?3 AND state = 'p') - ?2 ELSE next END,
		finished_at = CASE WHEN planned + queued + leased + accepted + running > 0 THEN NULL ELSE coalesce(finished_at, ?4) END
		WHERE job = ?1`, job, firstID(job), lastID(job), t.now)
	return err
}

// replace puts misplaced executions where their state has them.
func (t *tx) replace(job int64) error {
	var wrong []hostExecution
	if err := t.query(func(st *sqlite.Stmt) error {
		wrong = append(wrong, hostExecution{queue.HostID(st.ColumnText(0)), st.ColumnInt64(1)})
		return nil
	}, `SELECT h.id, x.id FROM execution x JOIN host h ON h.n = x.host WHERE x.id BETWEEN ? AND ? AND `+misplaced, firstID(job), lastID(job)); err != nil {
		return err
	}
	for _, x := range wrong {
		r, err := t.byID(x)
		if err != nil {
			return err
		}
		if r.State.InFlight() && !r.lapseWas.ok {
			wait := queue.DefaultLeaseTTL
			if r.State != queue.Leased {
				wait = r.job.spec.SilenceAfter()
			}
			if r.lapse, err = t.service(wait); err != nil {
				return err
			}
		}
		if err := t.save(r); err != nil {
			return err
		}
	}
	return nil
}
