package redisqueue_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// BenchmarkStore measures the verbs by names that both stores have. The bytes are of
// Redis' memory, keys and values alone.
func BenchmarkStore(b *testing.B) {
	queuetest.Bench(b, func(t testing.TB) queuetest.Measured {
		srv := redistest.Start(t)
		rdb := srv.Client()
		t.Cleanup(func() { rdb.Close() })
		return queuetest.Measured{
			Store: open(t, redisqueue.Options{URL: srv.URL + "?pool_size=32"}),
			ServerCPU: func() time.Duration {
				s := info(t, rdb, "cpu", "used_cpu_user") + info(t, rdb, "cpu", "used_cpu_sys")
				return time.Duration(s * float64(time.Second))
			},
			Bytes: func() int64 { return int64(info(t, rdb, "memory", "used_memory_dataset")) },
		}
	})
}

// info reads a figure that Redis gives of itself.
func info(t testing.TB, rdb *redis.Client, section, name string) float64 {
	t.Helper()
	text, err := rdb.Info(context.Background(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in INFO %s", name, section)
	return 0
}
