package runner

import (
	"context"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkScript runs instant scripts to their end, several at a time; cpu-ms/op is
// of this process, the supervisors and the scripts together.
func BenchmarkScript(b *testing.B) {
	b.Run("subreaper", func(b *testing.B) { benchmarkScript(b, New()) })
	b.Run("cgroup", func(b *testing.B) { benchmarkScript(b, contained(b)) })
}

func benchmarkScript(b *testing.B, r *Supervised) {
	base := b.TempDir()
	var n atomic.Int64
	before := cpu(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			dir := filepath.Join(base, strconv.FormatInt(n.Add(1), 10))
			p, err := r.Start(context.Background(), dir, spec("echo hello"))
			if err != nil {
				b.Error(err)
				return
			}
			for !p.Status().Ended {
				<-p.Changed()
			}
			p.Close()
			r.Remove(dir)
		}
	})
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

func cpu(b *testing.B) time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var ru syscall.Rusage
		if err := syscall.Getrusage(who, &ru); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return total
}
