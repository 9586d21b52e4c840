package redisqueue_test

import (
	"testing"

	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// Under Sentinel, work goes on with the replica that takes over; its scripts
// are loaded by whoever needs them.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	g := redistest.StartSentinel(t)
	f := newFleet(t, open(t, redisqueue.Options{URL: g.URL}), 20, numbered)
	first := f.submit()
	f.all(1)
	f.check(first)
	g.Failover(f.ctx)
	second := f.submit()
	f.all(1)
	f.check(first, second)
}
