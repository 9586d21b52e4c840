package sqlitequeue

import (
	"context"
	"time"

	"zombiezen.com/go/sqlite"
)

const (
	pageSize = 4096
	// minBound is the least that the file is bounded to: below it even an
	// empty store couldn't work.
	minBound = 16 << 20
	// fullRetry is when a refused submit may come again: when a sweep has had
	// time to remove something.
	fullRetry = 30 * time.Second
)

// Room tells how full the store is, in bytes.
func (s *Store) Room(ctx context.Context) (used, limit int64, err error) {
	err = s.read(ctx, func(c *sqlite.Conn) (err error) {
		used, err = usedBytes(c)
		return err
	})
	return used, s.maxBytes.Load(), err
}

// usedBytes is what the file's used pages take.
func usedBytes(c *sqlite.Conn) (int64, error) {
	var pages, free int64
	if _, err := one(c, func(st *sqlite.Stmt) { pages = st.ColumnInt64(0) }, `PRAGMA page_count`); err != nil {
		return 0, err
	}
	_, err := one(c, func(st *sqlite.Stmt) { free = st.ColumnInt64(0) }, `PRAGMA freelist_count`)
	return (pages - free) * pageSize, err
}

// maxPages is the bound of the file in pages.
func (s *Store) maxPages() int64 {
	limit := s.maxBytes.Load()
	if limit == 0 {
		return 1 << 32 / 2
	}
	return max(limit, minBound) / pageSize
}
