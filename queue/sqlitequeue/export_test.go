package sqlitequeue

import (
	"context"
	"fmt"
	"zombiezen.com/go/sqlite"
)

// SetMaxBytes bounds the store anew.
func (s *Store) SetMaxBytes(n int64) error {
	s.maxBytes.Store(n)
	return s.write(context.Background(), 1, func(t *tx) error {
		return t.query(func(*sqlite.Stmt) error { return nil }, fmt.Sprintf("PRAGMA max_page_count = %d", s.maxPages()))
	})
}
