package sqlitequeue

import (
	"cmp"
	"context"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Situations tells what bears on when executions go on, all as of one moment.
func (s *Store) Situations(ctx context.Context, job queue.JobID, hosts []queue.HostID) (found []queue.Situation, err error) {
	if err := queue.ValidateLimit(len(hosts)); err != nil {
		return nil, queue.Errorf(queue.Invalid, "hosts: %d, 1 to %d are possible", len(hosts), queue.MaxPage)
	}
	now := s.now()
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		j, gone, err := readInfo(c, job)
		if err != nil {
			return err
		}
		found = make([]queue.Situation, 0, len(hosts))
		var bad []string
		total := 0
		for _, host := range hosts {
			r, err := rowOf(c, j, host)
			if err != nil {
				return err
			}
			if r == nil {
				if total++; len(bad) < maxNamed {
					bad = append(bad, string(host))
				}
				continue
			}
			x := queue.Situation{Execution: r.execution(gone)}
			if err := situation(c, r, &x, now); err != nil {
				return err
			}
			found = append(found, x)
		}
		if total > 0 {
			return missing(bad, total, "job %s: not among its targets", job)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// situation fills in what is around an execution.
func situation(c *sqlite.Conn, r *row, s *queue.Situation, now time.Time) (err error) {
	s.Host, err = hostByID(c, r.Host, now)
	if queue.CodeOf(err) == queue.NotFound { // deleted
		s.Host, err = queue.Host{ID: r.Host}, nil
	}
	if err != nil {
		return err
	}
	if err := query(c, func(st *sqlite.Stmt) error {
		if s.Flying++; s.Flying == 1 {
			s.Held = blocker(st)
		}
		return nil
	}, `SELECT j.id, x.state, `+sinceColumn+` FROM execution x INDEXED BY execution_live CROSS JOIN job j ON j.n = x.id >> 20
		WHERE x.host = CAST(? AS INT) AND x.lane = CAST(? AS TEXT) AND x.turn = -1 AND x.id <> ? ORDER BY x.leased_at, x.id`, r.host, r.Lane, r.id); err != nil {
		return err
	}
	if !r.Deliverable(now) {
		return nil
	}
	// Two ranges of the lane: what has its turn, and what came due since the last sweep, in its order by priority.
	turn := int64(queue.MaxPriority - r.Priority)
	first := int64(turnLast + 1)
	var firstID int64
	ahead := func(st *sqlite.Stmt) error {
		s.Ahead++
		if at, id := st.ColumnInt64(3), st.ColumnInt64(4); s.Ahead == 1 || cmp.Or(cmp.Compare(at, first), cmp.Compare(id, firstID)) < 0 {
			s.First, first, firstID = blocker(st), at, id
		}
		return nil
	}
	if err := query(c, ahead, `SELECT j.id, x.state, `+sinceColumn+`, x.turn, x.id FROM execution x INDEXED BY execution_live CROSS JOIN job j ON j.n = x.id >> 20
		WHERE x.host = CAST(?1 AS INT) AND x.lane = CAST(?2 AS TEXT) AND x.turn BETWEEN 0 AND CAST(?3 AS INT) AND (x.turn < CAST(?3 AS INT) OR x.id < ?4) AND x.deliver_until > ?5
		ORDER BY x.turn, x.id LIMIT CAST(?6 AS INT)`, r.host, r.Lane, turn, r.id, now, queue.MaxAhead); err != nil {
		return err
	}
	err = query(c, ahead, `SELECT j.id, x.state, `+sinceColumn+`, ?7 - j.priority AS place, x.id FROM execution x INDEXED BY execution_live CROSS JOIN job j ON j.n = x.id >> 20
		WHERE x.host = CAST(?1 AS INT) AND x.lane = CAST(?2 AS TEXT) AND x.turn BETWEEN CAST(?8 AS INT) AND CAST(?5 AS INT)
		AND (?7 - j.priority < ?3 OR ?7 - j.priority = ?3 AND x.id < ?4) AND x.deliver_until > ?5
		ORDER BY place, x.id LIMIT CAST(?6 AS INT)`, r.host, r.Lane, turn, r.id, now, queue.MaxAhead, queue.MaxPriority, turnLast+1)
	s.Ahead = min(s.Ahead, queue.MaxAhead)
	return err
}

// sinceColumn is since when an execution is in its state, while that isn't terminal.
const sinceColumn = `CASE x.state WHEN 'r' THEN x.started_at WHEN 'a' THEN x.accepted_at WHEN 'l' THEN x.leased_at ELSE x.released_at END`

func blocker(st *sqlite.Stmt) queue.Blocker {
	return queue.Blocker{Job: queue.JobID(st.ColumnText(0)), State: colState(st, 1), Since: colTime(st, 2)}
}
