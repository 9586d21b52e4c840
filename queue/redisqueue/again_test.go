package redisqueue_test

import (
	"context"
	"testing"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// A subscription says when the server may be another one, or the same with less: not when it begins.
func TestSubscriptionSaysThatTheServerMayHaveGoneBack(t *testing.T) {
	srv := redistest.Start(t)
	s := open(t, redisqueue.Options{URL: srv.URL})
	ctx, cancel := context.WithCancel(t.Context())
	hints := make(chan queue.Hint, 10)
	done := make(chan error, 1)
	go func() { done <- s.Subscribe(ctx, "gw", func(h queue.Hint) { hints <- h }) }()
	if h := <-hints; h.Again {
		t.Error("the first subscription says that the server was away")
	}
	srv.Restart()
	if h := <-hints; !h.Again {
		t.Error("the server was restarted, and the subscription doesn't say so")
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Error(err)
	}
}
