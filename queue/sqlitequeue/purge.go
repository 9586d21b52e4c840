package sqlitequeue

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Purge cancels what a host has queued and leased, and with running what it has taken, as they are found when it
// begins: what is queued meanwhile stays. They are looked for by the writer, which knows of all that was released before.
func (s *Store) Purge(ctx context.Context, host queue.HostID, running bool, by string) (sum queue.Cancellation, err error) {
	var all []int64
	for from := 0; from == 0 || from < len(all); from += maxStep {
		var step queue.Cancellation
		err := s.write(ctx, maxStep, func(t *tx) (err error) {
			if from == 0 {
				if all, err = t.inQueue(host); err != nil {
					return err
				}
			}
			step = queue.Cancellation{}
			for _, id := range all[min(from, len(all)):min(from+maxStep, len(all))] {
				if err := t.purge(hostExecution{host, id}, running, by, &step); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return sum, err
		}
		sum.Cancelled += step.Cancelled
		sum.Asked += step.Asked
	}
	return sum, nil
}

// inQueue lists what a host has queued and in flight.
func (t *tx) inQueue(host queue.HostID) (ids []int64, err error) {
	var n int64
	ok, err := one(t.c, func(st *sqlite.Stmt) { n = st.ColumnInt64(0) }, `SELECT n FROM host WHERE id = ?`, host)
	if err == nil && !ok {
		err = hostNotFound(host)
	}
	if err != nil {
		return nil, err
	}
	err = t.query(func(st *sqlite.Stmt) error {
		ids = append(ids, st.ColumnInt64(0))
		return nil
	}, `SELECT id FROM execution INDEXED BY execution_live WHERE host = CAST(? AS INT) AND turn IS NOT NULL`, n)
	return ids, err
}

func (t *tx) purge(x hostExecution, running bool, by string, sum *queue.Cancellation) error {
	if !running {
		taken, err := t.exists(`SELECT 1 FROM execution WHERE id = ? AND state IN ('a', 'r')`, x.id)
		if err != nil || taken {
			return err
		}
	}
	return t.cancel(x, by, sum)
}
