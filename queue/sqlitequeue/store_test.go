package sqlitequeue_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// clock is a real clock that a test can put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t testing.TB, o sqlitequeue.Options) *sqlitequeue.Store {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	s, err := sqlitequeue.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	// Hundreds of stores are opened; that they are made is tested elsewhere.
	path := filepath.Join(t.TempDir(), "empty.db")
	if err := open(t, sqlitequeue.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	empty, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	queuetest.Run(t, queuetest.Factory{Open: func(t testing.TB) *queuetest.Instance {
		k := &clock{}
		o := sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "store.db"), Clock: k.now}
		if err := os.WriteFile(o.Path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, o)
		in := &queuetest.Instance{Store: s, Advance: k.advance}
		in.SetRoom = func(limit int64) {
			o.MaxBytes = limit
			if err := s.SetMaxBytes(limit); err != nil {
				t.Errorf("SetRoom: %v", err)
			}
		}
		in.Reopen = func(t testing.TB) queue.Store {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			s = open(t, o)
			return s
		}
		return in
	}})
}
