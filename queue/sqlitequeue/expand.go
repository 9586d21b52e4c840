package sqlitequeue

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// drive is how far a job is released, and cancelled.
type drive struct {
	n           int64
	targets     int
	control     queue.Control
	open        bool
	next        int
	driver      string
	driverSeen  time.Time
	cancelNext  opt
	cancelledBy string
	cancelledAt time.Time
}

func (t *tx) drive(id queue.JobID) (d *drive, err error) {
	_, err = one(t.c, func(st *sqlite.Stmt) {
		d = &drive{
			n: st.ColumnInt64(0), targets: st.ColumnInt(1), control: queue.Control(st.ColumnText(2)), open: st.ColumnBool(3), next: st.ColumnInt(4),
			driver: st.ColumnText(5), driverSeen: colTime(st, 6), cancelNext: colOpt(st, 7), cancelledBy: st.ColumnText(8), cancelledAt: colTime(st, 9),
		}
	}, `SELECT j.n, j.targets, j.control, p.open, p.next, p.driver, p.driver_seen, p.cancel_next, p.cancelled_by, p.cancelled_at
		FROM job j JOIN progress p ON p.job = j.n WHERE j.id = ? AND j.visible = 1`, id)
	if err == nil && d == nil {
		err = jobNotFound(id)
	}
	return d, err
}

// Expand releases planned targets of a job, in order of ordinal.
func (s *Store) Expand(ctx context.Context, job queue.JobID, driver string, limit int) (x queue.Expansion, err error) {
	left := max(limit, 0)
	for {
		var step queue.Expansion
		var from, to int64 // executions that were queued lie between
		err := s.write(ctx, min(left, maxStep)+1, func(t *tx) error {
			step, from, to = queue.Expansion{}, 0, 0
			d, err := t.drive(job)
			if err != nil {
				return err
			}
			if !d.open {
				step.Done = true
				return nil
			}
			if d.driver != driver && d.driver != "" && t.now.Before(d.driverSeen.Add(queue.DriverTimeout)) {
				step.Busy = true
				return nil
			}
			if d.control == queue.ControlPaused || left == 0 {
				return t.drives(d, driver)
			}
			if d.control == queue.ControlStopped {
				step.Passed = min(left, maxStep)
				if _, step.Done, err = t.cancelStep(d, step.Passed); err != nil {
					return err
				}
				return t.drives(d, driver)
			}
			from, to = firstID(d.n)+int64(d.next), firstID(d.n)+int64(min(d.next+min(left, maxStep), d.targets))-1
			if step.Released, err = t.release(d, from, to); err != nil {
				return err
			}
			step.Passed = int(to-from) + 1 - step.Released
			d.next += int(to-from) + 1
			d.open = d.next < d.targets
			step.Done = !d.open
			return t.drives(d, driver)
		})
		if err != nil {
			return x, err
		}
		x.Released += step.Released
		x.Passed += step.Passed
		x.Done, x.Busy = step.Done, step.Busy
		if step.Released > 0 {
			s.hintReleased(ctx, from, to)
		}
		left -= step.Released + step.Passed
		if x.Done || x.Busy || left <= 0 || step.Released+step.Passed == 0 {
			return x, nil
		}
	}
}

// drives writes how far the driver is.
func (t *tx) drives(d *drive, driver string) error {
	_, err := t.exec(`UPDATE progress SET open = ?, next = ?, driver = ?, driver_seen = ? WHERE job = ?`, d.open, d.next, driver, t.now, d.n)
	return err
}

// release queues the planned executions of a range, and ends those whose host
// isn't what it was.
func (t *tx) release(d *drive, from, to int64) (released int, err error) {
	j, err := t.jobN(d.n)
	if err != nil {
		return 0, err
	}
	if j.eachHost() {
		return t.releaseEach(j, from, to)
	}
	h := queue.Held{Execution: queue.Execution{State: queue.Planned}}
	h.Release(j.spec, t.now)
	r := row{Held: h}
	r.Priority = j.spec.Priority
	turn, wake, _ := r.places(t.now)
	released, err = t.exec(`UPDATE execution SET state = 'q', deliveries = 0, released_at = ?, deliver_until = ?, turn = ?, wake_at = ?
		WHERE id BETWEEN ? AND ? AND state = 'p'
		AND (SELECT h.incarnation = execution.incarnation AND h.revoked = 0 AND h.deleted = 0 FROM host h WHERE h.n = execution.host)`,
		h.ReleasedAt, h.DeliverUntil, turn, wake, from, to)
	if err != nil {
		return 0, err
	}
	t.moved(d.n, queue.Planned, queue.Queued, released)
	t.ranges = append(t.ranges, span{from, to})
	if released == int(to-from)+1 {
		return released, nil
	}
	h = queue.Held{Execution: queue.Execution{State: queue.Planned}}
	h.Void(t.now)
	voided, err := t.exec(`UPDATE execution SET state = ?, finished_at = ?, exit_code = ?, reason = ?, result_at = ? WHERE id BETWEEN ? AND ? AND state = 'p'`,
		h.State, h.FinishedAt, h.Result.ExitCode, h.Result.Reason, h.Result.At, from, to)
	t.moved(d.n, queue.Planned, queue.Cancelled, voided)
	return released, err
}

// hintReleased tells gateways of the hosts that were given work. It is lossy,
// as any hint: an error only delays.
func (s *Store) hintReleased(ctx context.Context, from, to int64) {
	if !s.hub.listening() {
		return
	}
	var hints []hint
	err := s.read(ctx, func(c *sqlite.Conn) error {
		return query(c, func(st *sqlite.Stmt) error {
			hints = append(hints, hint{st.ColumnText(0), queue.HostID(st.ColumnText(1))})
			return nil
		}, `SELECT s.gateway, h.id FROM execution x JOIN session s ON s.host = x.host JOIN host h ON h.n = x.host
			WHERE x.id BETWEEN ? AND ? AND x.state = 'q' AND x.turn <= ? AND s.gateway <> ''`, from, to, turnLast)
	})
	if err != nil {
		s.log.Debug("hints of an expansion are left out", "error", err)
	}
	s.hub.send(hints)
}

// OpenJobs lists jobs with planned targets or an unfinished cancel.
func (s *Store) OpenJobs(ctx context.Context, limit int) (ids []queue.JobID, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return query(c, func(st *sqlite.Stmt) error {
			ids = append(ids, queue.JobID(st.ColumnText(0)))
			return nil
		}, `SELECT j.id FROM progress p JOIN job j ON j.n = p.job WHERE p.open = 1 AND j.visible = 1 ORDER BY p.job LIMIT CAST(? AS INT)`, max(limit, 0))
	})
	return ids, err
}
