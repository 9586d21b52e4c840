package redisqueue

import (
	"fmt"
	"slices"
	"testing"

	"github.com/rexgate/rexgate/queue"
)

// A copy of targets is what was copied, small or large, and a damaged one is refused.
func TestCopyOfTargets(t *testing.T) {
	for _, n := range []int{0, 1, 50, 100_000} {
		var split [Partitions][]queue.Target
		for i := range n {
			h := queue.HostID(fmt.Sprintf("host-%06d", i))
			split[partition(h)] = append(split[partition(h)], queue.Target{Host: h, Incarnation: int64(1 + i%3)})
		}
		b, err := encodeCopy(&split)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeCopy(b)
		if err != nil {
			t.Fatal(err)
		}
		for p := range split {
			if !slices.Equal(split[p], back[p]) {
				t.Fatalf("%d targets: partition %d differs", n, p)
			}
		}
		t.Logf("%d targets: %d bytes", n, len(b))
		for _, bad := range [][]byte{nil, {7}, b[:len(b)/2], b[:len(b)-1]} {
			if got, err := decodeCopy(bad); err == nil && n > 0 && (len(bad) != 1 || bad[0] > 1) {
				t.Errorf("%d targets: %d bytes of %d were taken: %d", n, len(bad), len(b), len(got[0]))
			}
		}
	}
}

func BenchmarkCopyOfTargets(b *testing.B) {
	var split [Partitions][]queue.Target
	for i := range 100_000 {
		h := queue.HostID(fmt.Sprintf("host-%06d", i))
		split[partition(h)] = append(split[partition(h)], queue.Target{Host: h, Incarnation: 1})
	}
	for b.Loop() {
		if _, err := encodeCopy(&split); err != nil {
			b.Fatal(err)
		}
	}
}
