package sqlitequeue

import (
	"context"
	"fmt"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
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

// SpoilState makes a state byte that is kept in memory wrong.
func (s *Store) SpoilState(t testing.TB, job queue.JobID, ordinal int, state queue.State) {
	t.Helper()
	var n int64
	if err := s.read(context.Background(), func(c *sqlite.Conn) error {
		_, err := one(c, func(st *sqlite.Stmt) { n = st.ColumnInt64(0) }, `SELECT n FROM job WHERE id = ?`, job)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	s.states.jobs[n].states[ordinal] = byte(state)
}
