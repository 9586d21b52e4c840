package sqlitequeue

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Purge cancels what a host has queued and leased, and with running what it has taken, as they are found when it
// begins: what is queued meanwhile stays.
func (s *Store) Purge(ctx context.Context, host queue.HostID, running bool, by string) (sum queue.Cancellation, err error) {
	var all []int64
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		var n int64
		ok, err := one(c, func(st *sqlite.Stmt) { n = st.ColumnInt64(0) }, `SELECT n FROM host WHERE id = ?`, host)
		if err == nil && !ok {
			err = hostNotFound(host)
		}
		if err != nil {
			return err
		}
		return query(c, func(st *sqlite.Stmt) error {
			all = append(all, st.ColumnInt64(0))
			return nil
		}, `SELECT id FROM execution INDEXED BY execution_live WHERE host = CAST(? AS INT) AND turn IS NOT NULL`, n)
	})
	for from := 0; err == nil && from < len(all); from += maxStep {
		var step queue.Cancellation
		part := all[from:min(from+maxStep, len(all))]
		err = s.write(ctx, len(part), func(t *tx) error {
			step = queue.Cancellation{}
			for _, id := range part {
				if err := t.purge(hostExecution{host, id}, running, by, &step); err != nil {
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

func (t *tx) purge(x hostExecution, running bool, by string, sum *queue.Cancellation) error {
	if !running {
		taken, err := t.exists(`SELECT 1 FROM execution WHERE id = ? AND state IN ('a', 'r')`, x.id)
		if err != nil || taken {
			return err
		}
	}
	return t.cancel(x, by, sum)
}
