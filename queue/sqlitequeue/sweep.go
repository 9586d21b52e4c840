package sqlitequeue

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// sweepStep is how many executions one transaction of a sweep changes.
const sweepStep = 200

// gatewayKept is how long a dead gateway's end is kept: it is since when its
// hosts are offline.
const gatewayKept = 7 * 24 * time.Hour

// Sweep ticks the service clock and applies what is due.
func (s *Store) Sweep(ctx context.Context, budget int, keep queue.Retention) (sum queue.Swept, err error) {
	ticked := false
	for {
		var step queue.Swept
		n := 0
		err := s.write(ctx, sweepStep, func(t *tx) error {
			step, n = queue.Swept{}, 0
			if !ticked {
				if err := t.tick(); err != nil {
					return err
				}
				if err := t.forgetTokens(sweepStep); err != nil {
					return err
				}
				service, err := t.service(0)
				if err != nil {
					return err
				}
				if _, err := t.exec(`DELETE FROM gateway WHERE alive_until < ? AND alive_service < ?`, t.now.Add(-gatewayKept), service); err != nil {
					return err
				}
			}
			var err error
			n, err = t.sweep(min(budget, sweepStep), &step)
			return err
		})
		if err != nil {
			return sum, err
		}
		ticked = true
		sum.Lapsed += step.Lapsed
		sum.Expired += step.Expired
		sum.Due += step.Due
		sum.Skipped += step.Skipped
		sum.Lost += step.Lost
		sum.Ended += step.Ended
		budget -= n
		if n == 0 {
			break
		}
		if budget <= 0 {
			sum.More = true
			return sum, nil
		}
	}
	sum.Deleted, sum.More, err = s.retain(ctx, budget, keep)
	return sum, err
}

// sweep applies what is due to up to limit executions, and tells to how many.
func (t *tx) sweep(limit int, sum *queue.Swept) (n int, err error) {
	service, err := t.service(0)
	if err != nil {
		return 0, err
	}
	due, err := t.duePeers(`SELECT h.id, x.id, s.gateway FROM execution x INDEXED BY execution_lapse CROSS JOIN host h ON h.n = x.host LEFT JOIN session s ON s.host = x.host
		WHERE x.lapse_at <= CAST(? AS INT) ORDER BY x.lapse_at LIMIT CAST(? AS INT)`, service, limit)
	if err != nil {
		return 0, err
	}
	for _, d := range due {
		if err := t.lapse(d, sum); err != nil {
			return 0, err
		}
	}
	n = len(due)
	if due, err = t.duePeers(`SELECT h.id, x.id, s.gateway FROM execution x INDEXED BY execution_wake CROSS JOIN host h ON h.n = x.host LEFT JOIN session s ON s.host = x.host
		WHERE x.wake_at <= CAST(? AS INT) ORDER BY x.wake_at LIMIT CAST(? AS INT)`, t.now, limit-n); err != nil {
		return 0, err
	}
	for _, d := range due {
		if err := t.wake(d, sum); err != nil {
			return 0, err
		}
	}
	return n + len(due), nil
}

// dueExecution is one that a sweep sees to, with the gateway of its host.
type dueExecution struct {
	hostExecution
	gateway string
}

func (t *tx) duePeers(sql string, args ...any) (due []dueExecution, err error) {
	err = t.query(func(st *sqlite.Stmt) error {
		due = append(due, dueExecution{hostExecution{queue.HostID(st.ColumnText(0)), st.ColumnInt64(1)}, st.ColumnText(2)})
		return nil
	}, sql, args...)
	return due, err
}

// lapse ends a lease that lapsed, or an execution that fell silent.
func (t *tx) lapse(d dueExecution, sum *queue.Swept) error {
	r, err := t.byID(d.hostExecution)
	if err != nil {
		return err
	}
	if r.State == queue.Leased {
		r.EndLease(t.now)
		if r.State == queue.Queued {
			sum.Lapsed++
			t.hint(d.gateway, d.host)
		} else {
			sum.Ended++
		}
	} else {
		r.Lose(queue.WhySilent, t.now)
		sum.Lost++
	}
	if err := t.save(r); err != nil {
		return err
	}
	return t.hintIfWaiting(&peer{n: r.host, id: d.host, gateway: d.gateway}, r.Lane)
}

// wake queues what came due, or skips it, and ends what was not picked up.
func (t *tx) wake(d dueExecution, sum *queue.Swept) error {
	r, err := t.byID(d.hostExecution)
	if err != nil {
		return err
	}
	if r.Expire(t.now); r.State == queue.Expired {
		sum.Expired++
		return t.save(r)
	}
	if r.job.spec.Offline == queue.OfflineSkip {
		skip, err := t.offline(r.host)
		if err != nil {
			return err
		}
		if skip {
			sum.Skipped++
			return t.withdraw(r, queue.WhyOffline)
		}
	}
	sum.Due++
	t.hint(d.gateway, d.host)
	return t.save(r)
}

// byID reads an execution of which the number is known.
func (t *tx) byID(x hostExecution) (*row, error) {
	rows, err := t.rows(x.host, `SELECT `+rowColumns+` FROM execution x WHERE x.id = ?`, x.id)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("execution %d is missing", x.id)
	}
	return rows[0], nil
}
