package sqlitequeue

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// outputPos is the offset of a row's first byte in the coordinates of stream
// ?2 (0 = both), and outputLen its length in them.
const (
	outputPos = `CASE ?2 WHEN 1 THEN out_at WHEN 2 THEN err_at ELSE out_at + err_at END`
	outputLen = `CASE WHEN ?2 = 0 OR stream = CASE ?2 WHEN 1 THEN 'stdout' ELSE 'stderr' END THEN length(data) ELSE 0 END`
)

// Output reads stored output from an offset on.
func (s *Store) Output(ctx context.Context, q queue.OutputQuery) (chunks []queue.Chunk, err error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	left := q.Limit
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		r, gone, err := readRow(c, q.Job, q.Host)
		if err != nil || gone {
			return err
		}
		from, err := seekOutput(c, r, &q)
		if err != nil {
			return err
		}
		full := false
		// Rows are read until the limit, in pages, since a statement that isn't
		// finished reads no further.
		for !full {
			rows := 0
			err := query(c, func(st *sqlite.Stmt) error {
				rows++
				if from = st.ColumnInt64(0) + 1; full {
					return nil
				}
				k := queue.Chunk{Seq: st.ColumnInt64(0), Stream: streamOf(st.ColumnText(1)), At: colTime(st, 2), Offset: st.ColumnInt64(3), Gap: st.ColumnInt64(4)}
				if k.Gap == 0 && k.Stream != queue.Both {
					k.Data = colBytes(st, 5)
					if skip := q.Offset - k.Offset; skip > 0 {
						k.Data, k.Offset = k.Data[min(skip, int64(len(k.Data))):], q.Offset
					}
					if len(k.Data) > left {
						if full = true; len(chunks) > 0 {
							return nil
						}
						k.Data = k.Data[:left]
					}
				}
				left -= len(k.Data)
				chunks = append(chunks, k)
				full = full || left == 0
				return nil
			}, `SELECT seq, stream, at, `+outputPos+`, missing, data FROM output WHERE execution = ?1 AND seq >= ?3
				AND (?2 = 0 OR stream = 'gap' OR stream = CASE ?2 WHEN 1 THEN 'stdout' ELSE 'stderr' END) ORDER BY seq LIMIT CAST(?4 AS INT)`,
				r.id, int(q.Stream), from, outputPage)
			if err != nil || rows < outputPage {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return chunks, nil
}

// outputPage is how many rows are read at a time.
const outputPage = 128

func streamOf(name string) queue.Stream {
	switch name {
	case "stdout":
		return queue.Stdout
	case "stderr":
		return queue.Stderr
	}
	return queue.Both
}

// seekOutput finds the first row that ends behind the offset, or begins at it.
// Offsets rise with seq, so that it is found by halving.
func seekOutput(c *sqlite.Conn, r *row, q *queue.OutputQuery) (seq int64, err error) {
	lo, hi := int64(1), r.Stored+1 // the row is in [lo, hi], hi = none
	if q.Offset == 0 {
		return lo, nil
	}
	for lo < hi {
		mid := lo + (hi-lo)/2
		at, before := int64(0), false
		ok, err := one(c, func(st *sqlite.Stmt) {
			at = st.ColumnInt64(0)
			before = st.ColumnInt64(1) < q.Offset && st.ColumnInt64(1)+st.ColumnInt64(2) <= q.Offset
		}, `SELECT seq, `+outputPos+`, `+outputLen+` FROM output WHERE execution = ?1 AND seq >= ?3 ORDER BY seq LIMIT 1`, r.id, int(q.Stream), mid)
		if err != nil {
			return 0, err
		}
		if ok && before {
			lo = at + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}
