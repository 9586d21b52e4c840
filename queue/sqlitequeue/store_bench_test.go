package sqlitequeue_test

import (
	"os"
	"path/filepath"
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
