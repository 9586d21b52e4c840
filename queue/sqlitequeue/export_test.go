package sqlitequeue

import (
	"context"
	"fmt"
	"testing"

	"zombiezen.com/go/sqlite"
)

// SetMaxBytes bounds the store anew.
func (s *Store) SetMaxBytes(n int64) error {
	s.maxBytes.Store(n)
	return s.write(context.Background(), 1, func(t *tx) error {
		return t.query(func(*sqlite.Stmt) error { return nil }, fmt.Sprintf("PRAGMA max_page_count = %d", s.maxPages()))
	})
}

// Count tells how many rows a table has.
func (s *Store) Count(t testing.TB, table string) (n int) {
	t.Helper()
	if err := s.read(context.Background(), func(c *sqlite.Conn) error {
		_, err := one(c, func(st *sqlite.Stmt) { n = st.ColumnInt(0) }, "SELECT count(*) FROM "+table)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
