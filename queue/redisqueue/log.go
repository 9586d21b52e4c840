package redisqueue

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogTo sends what go-redis says on its own to a log, at the level debug, instead of to
// the process' standard error: what fails is also returned to callers. It is
// the setting of the whole process, which is why Open doesn't make it; a program calls it
// once, before Open.
func LogTo(log *slog.Logger) { redis.SetLogger(driverLog{log}) }

type driverLog struct{ log *slog.Logger }

// Printf implements go-redis' logger.
func (d driverLog) Printf(ctx context.Context, format string, args ...any) {
	if d.log.Enabled(ctx, slog.LevelDebug) {
		d.log.DebugContext(ctx, "redis client", "text", fmt.Sprintf(format, args...))
	}
}
