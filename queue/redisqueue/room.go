package redisqueue

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// room keeps for a second how full the masters are.
type room struct {
	bound atomic.Int64 // Options.MaxBytes

	mu      sync.Mutex // guards the rest
	at      time.Time
	used    int64 // all masters together
	limit   int64 // the same; 0 if one isn't bounded
	fullest float64
}

// Room tells how full the store is: Redis' memory in use, and its maxmemory.
func (s *Store) Room(ctx context.Context) (used, limit int64, err error) {
	if err := s.enter(); err != nil {
		return 0, 0, err
	}
	defer s.leave()
	used, limit, _, err = s.fill(ctx)
	return used, limit, err
}

// fill gives used and limit of all masters, and the used part of the fullest.
func (s *Store) fill(ctx context.Context) (used, limit int64, fullest float64, err error) {
	r := &s.room
	r.mu.Lock()
	used, limit, fullest = r.used, r.limit, r.fullest
	fresh := time.Since(r.at) < time.Second && !r.at.IsZero()
	r.mu.Unlock()
	if !fresh {
		if used, limit, fullest, err = s.measure(ctx); err != nil {
			return 0, 0, 0, err
		}
		r.mu.Lock()
		r.used, r.limit, r.fullest, r.at = used, limit, fullest, time.Now()
		r.mu.Unlock()
	}
	if bound := r.bound.Load(); bound > 0 {
		return used, bound, max(fullest, float64(used)/float64(bound)), nil
	}
	return used, limit, fullest, nil
}

func (s *Store) measure(ctx context.Context) (used, limit int64, fullest float64, err error) {
	bounded := true
	err = s.masters(ctx, func(ctx context.Context, node *redis.Client) error {
		text, err := node.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		info := parseInfo(text)
		u, _ := strconv.ParseInt(info["used_memory"], 10, 64)
		l, _ := strconv.ParseInt(info["maxmemory"], 10, 64)
		used, limit = used+u, limit+l
		if l == 0 {
			bounded = false
			return nil
		}
		fullest = max(fullest, float64(u)/float64(l))
		return nil
	})
	if !bounded {
		limit = 0
	}
	return used, limit, fullest, failed("room", err)
}

// roomy refuses jobs when a master is near its room.
func (s *Store) roomy(ctx context.Context) error {
	used, limit, fullest, err := s.fill(ctx)
	if err != nil || fullest < fullAt {
		return err
	}
	return &queue.Error{Code: queue.Full, Retry: retryFull,
		Message: "the store is nearly full: " + strconv.FormatInt(used, 10) + " of " + strconv.FormatInt(limit, 10) + " bytes are used"}
}
