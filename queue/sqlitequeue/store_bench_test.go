package sqlitequeue_test

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// BenchmarkStore measures the verbs by names that both stores have. The bytes are of
// the file, without its log.
func BenchmarkStore(b *testing.B) {
	queuetest.Bench(b, func(t testing.TB) queuetest.Measured {
		path := filepath.Join(t.TempDir(), "store.db")
		return queuetest.Measured{
			Store: open(t, sqlitequeue.Options{Path: path}),
			Bytes: func() int64 {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				return info.Size()
			},
		}
	})
}

// fleet calls a store for many hosts at once.
type fleet struct{ s *sqlitequeue.Store }

// each calls fn for 0 to n-1 from many goroutines, in order.
func (f *fleet) each(t testing.TB, n int, fn func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
