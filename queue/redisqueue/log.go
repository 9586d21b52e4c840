package redisqueue

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogClient sends what the Redis client says of its connections to l, at
// debug level: the client has one log for the whole process, which is standard error unless
// told otherwise, and all that matters of it is also in the errors of the verbs.
// It is for main, once.
func LogClient(l *slog.Logger) { redis.SetLogger(clientLog{l}) }

type clientLog struct{ l *slog.Logger }

// Printf is what go-redis calls.
func (c clientLog) Printf(ctx context.Context, format string, v ...any) {
	if c.l.Enabled(ctx, slog.LevelDebug) {
		c.l.DebugContext(ctx, "redis client", "text", fmt.Sprintf(format, v...))
	}
}
