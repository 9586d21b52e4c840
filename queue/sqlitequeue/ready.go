package sqlitequeue

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Ready lists hosts owned by the gateway that have something to be leased. It
// looks at each of the gateway's sessions, on a reader's connection.
func (s *Store) Ready(ctx context.Context, gateway string, limit int) (ready []queue.HostID, err error) {
	now := s.now()
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		after := int64(0)
		for len(ready) < limit {
			found, err := candidates(c, gateway, after, now.UnixMilli())
			if err != nil {
				return err
			}
			for _, k := range found {
				after = k.host
				ok := k.message
				if !ok {
					if ok, err = freeWork(c, k, now.UnixMilli()); err != nil {
						return err
					}
				}
				if ok && len(ready) < limit {
					ready = append(ready, k.id)
				}
			}
			if len(found) < readyPage {
				break
			}
		}
		return nil
	})
	return ready, err
}

const readyPage = 256

// candidate is a host that has work, or a message that it wasn't given.
type candidate struct {
	host    int64
	id      queue.HostID
	slots   string
	message bool
}

func candidates(c *sqlite.Conn, gateway string, after, now int64) (found []candidate, err error) {
	err = query(c, func(st *sqlite.Stmt) error {
		found = append(found, candidate{st.ColumnInt64(0), queue.HostID(st.ColumnText(1)), st.ColumnText(2), st.ColumnBool(3)})
		return nil
	}, `SELECT s.host, h.id, s.slots, s.n > s.given FROM session s CROSS JOIN host h ON h.n = s.host
		WHERE s.gateway = ?1 AND s.gateway <> '' AND s.host > ?2 AND s.duplicate_since IS NULL
		AND (s.n > s.given OR EXISTS (SELECT 1 FROM execution x INDEXED BY execution_live WHERE x.host = s.host AND x.turn IS NOT NULL AND x.turn BETWEEN 0 AND CAST(?3 AS INT)))
		ORDER BY s.host LIMIT CAST(?4 AS INT)`, gateway, after, now, readyPage)
	return found, err
}

// freeWork tells whether something waits in a lane with a free slot.
func freeWork(c *sqlite.Conn, k candidate, now int64) (ok bool, err error) {
	slots, err := slotsOf(k.slots)
	if err != nil {
		return false, err
	}
	err = query(c, func(st *sqlite.Stmt) error {
		ok = ok || st.ColumnInt(1) < queue.SlotsIn(slots, queue.Lane(st.ColumnText(0)))
		return nil
	}, `SELECT lane, count(*) FILTER (WHERE turn = -1) FROM execution INDEXED BY execution_live WHERE host = CAST(? AS INT) AND turn IS NOT NULL AND turn <= CAST(? AS INT)
		GROUP BY lane HAVING max(turn) >= 0`, k.host, now)
	return ok, err
}
