package redisqueue_test

import (
	"log/slog"
	"os"
	"testing"

	"github.com/rexgate/rexgate/queue/redisqueue"
)

func TestMain(m *testing.M) {
	redisqueue.LogClient(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
