package redisqueue_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// lever opens stores on one server, each with a prefix and a clock of its own.
type lever struct {
	url   string
	slow  bool
	count atomic.Int64
}

// clock is what a test has added to Redis' clock.
type clock struct{ us atomic.Int64 }

func (c *clock) offset() time.Duration { return time.Duration(c.us.Load()) * time.Microsecond }

func (l *lever) open(t testing.TB) *queuetest.Instance {
	t.Helper()
	c := new(clock)
	o := redisqueue.Options{URL: l.url, Prefix: fmt.Sprintf("t%d:", l.count.Add(1)), ClockOffset: c.offset}
	if l.slow {
		o = redisqueue.Slow(o)
	}
	store := open(t, o)
	in := &queuetest.Instance{
		Store:   store,
		Advance: func(d time.Duration) { c.us.Add(d.Microseconds()) },
		SetRoom: func(limit int64) { store.SetBound(limit) },
	}
	in.Reopen = func(t testing.TB) queue.Store {
		t.Helper()
		if err := store.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		store = open(t, o)
		return store
	}
	return in
}

func open(t testing.TB, o redisqueue.Options) *redisqueue.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := redisqueue.Open(ctx, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	l := &lever{url: redistest.Start(t).URL}
	queuetest.Run(t, queuetest.Factory{Open: l.open})
}

// What the usual calls do in one piece, the general way does too.
func TestConformanceSlow(t *testing.T) {
	l := &lever{url: redistest.Start(t).URL, slow: true}
	queuetest.Run(t, queuetest.Factory{Open: l.open})
}
