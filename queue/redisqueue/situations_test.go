package redisqueue

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// However much is past its time in a queue that no sweep has been to, a situation looks at so many records and no more.
func TestSituationsLookAtSoMuch(t *testing.T) {
	b := newShop(t, 1)
	for range 2*queue.MaxAhead + 100 {
		b.released(func(j *queue.Job) { j.Spec.PickupTimeout, j.Spec.Priority = time.Minute, 5 }, b.targets...)
	}
	first := b.released(func(*queue.Job) {}, b.targets...)
	job := b.released(func(*queue.Job) {}, b.targets...)
	b.claim(b.targets[0], queue.TransportSocket)
	b.ahead.Add(int64(2 * time.Minute))
	reads := func() int {
		text, err := b.s.rdb.Info(b.ctx, "commandstats").Result()
		b.must(err)
		m := regexp.MustCompile(`cmdstat_hmget:calls=(\d+)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no HMGET in %s", text)
		}
		n, err := strconv.Atoi(m[1])
		b.must(err)
		return n
	}
	situation := func() queue.Situation {
		s, err := b.s.Situations(b.ctx, job, []queue.HostID{b.targets[0].Host})
		b.must(err)
		return s[0]
	}
	before := reads()
	if s := situation(); s.Ahead == 0 || s.First.Job == "" {
		t.Errorf("%d ahead, the first is %+v", s.Ahead, s.First)
	}
	if n := reads() - before; n > 8 {
		t.Errorf("it read %d pages of records", n)
	}
	for b.sweep(queue.Retention{}).Expired > 0 {
	}
	if s := situation(); s.Ahead != 1 || s.First.Job != first {
		t.Errorf("after the sweeps, %d ahead, the first is %+v, want %s", s.Ahead, s.First, first)
	}
}
