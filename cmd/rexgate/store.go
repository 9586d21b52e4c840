package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// storeFile is the embedded store's file in the data directory.
const storeFile = "rexgate.db"

// openTimeout bounds how long a store may take to open.
const openTimeout = 30 * time.Second

// openStore opens the store of the settings. where names it, also with an error.
func (c *config) openStore(ctx context.Context, log *slog.Logger) (store queue.Store, where string, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if c.redis == "" {
		where = filepath.Join(c.dataDir, storeFile)
		s, err := sqlitequeue.Open(ctx, sqlitequeue.Options{Path: where, MaxBytes: int64(c.storeBytes), Log: log})
		if err != nil {
			return nil, where, err
		}
		return s, where, nil
	}
	where, _ = hidePassword(c.redis)
	o, err := c.redisOptions()
	if err != nil {
		return nil, where, err
	}
	redisqueue.LogClient(log)
	s, err := redisqueue.Open(ctx, o)
	if err != nil {
		return nil, where, err
	}
	return s, where, nil
}

// redisOptions are what the settings say of Redis.
func (c *config) redisOptions() (redisqueue.Options, error) {
	o := redisqueue.Options{URL: c.redis, MaxBytes: int64(c.storeBytes)}
	var err error
	if c.redisPasswordFile != "" {
		if o.Password, err = settings.ReadSecret(c.redisPasswordFile); err != nil {
			return o, fmt.Errorf("--redis-password-file: %w", err)
		}
	}
	return o, nil
}
