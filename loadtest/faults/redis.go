package faults

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// redisServer is the Redis of a world. It writes its append-only file before it answers, so that
// a kill loses nothing that was acknowledged: that is for failover.
type redisServer struct {
	*process
	addr string
	dir  string
	busy sync.Mutex // held by a fault
}

func newRedis(ctx context.Context, w *world) (*redisServer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	r := &redisServer{addr: addr, dir: filepath.Join(w.cfg.Dir, "redis")}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	r.process = &process{
		name: "redis", path: w.cfg.RedisServer, log: filepath.Join(w.logs, "redis.log"),
		args: []string{"--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--daemonize", "no", "--save", "", "--appendonly", "yes",
			"--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction"},
	}
	return r, r.up(ctx)
}

// up starts it, and waits until it has loaded its data.
func (r *redisServer) up(ctx context.Context) error {
	if err := r.start(); err != nil {
		return err
	}
	for {
		if _, err := redisDo(r.addr, "PING"); err == nil {
			return nil
		}
		if !r.running() {
			return fmt.Errorf("redis ended at its start: %w", errOr(r.ended()))
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("redis isn't ready: %w", err)
		}
	}
}

// aof gives the file that writes are appended to.
func (r *redisServer) aof() (string, error) {
	files, err := filepath.Glob(filepath.Join(r.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("redis has %d append-only files, not one: %w", len(files), err)
	}
	return files[0], nil
}

// written is how much has been appended so far.
func (r *redisServer) written() (int64, error) {
	f, err := r.aof()
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(f)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lose ends it, and forgets what was written beyond a size.
func (r *redisServer) lose(size int64) error {
	r.kill()
	f, err := r.aof()
	if err != nil {
		return err
	}
	return os.Truncate(f, size)
}
