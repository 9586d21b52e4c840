package redisqueue_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue/redisqueue"
)

func TestMain(m *testing.M) {
	redisqueue.LogClient(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}
