package redisqueue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// patience is how long a command is repeated while its slot is moving.
const patience = 10 * time.Second

// enter lets a verb in, unless the store is closed; the verb calls leave.
func (s *Store) enter() error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return &queue.Error{Code: queue.Unavailable, Message: "redis: the store is closed"}
	}
	s.verbs.Add(1)
	return nil
}

func (s *Store) leave() { s.verbs.Done() }

// persist repeats fn while it fails for a slot on its way.
func (s *Store) persist(ctx context.Context, fn func() error) error {
	until := time.Now().Add(patience)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := fn()
		if !passing(err) || time.Now().After(until) {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// pipeline sends plain commands together. Nil answers are no errors.
func (s *Store) pipeline(ctx context.Context, op string, fill func(redis.Pipeliner)) error {
	err := s.persist(ctx, func() error {
		pipe := s.rdb.Pipeline()
		fill(pipe)
		cmds, err := pipe.Exec(ctx)
		for _, c := range cmds {
			if e := c.Err(); e != nil && !errors.Is(e, redis.Nil) {
				return e
			}
		}
		if isNil(err) {
			return nil
		}
		return err
	})
	return failed(op, err)
}

// each calls fn for 0..n-1, at most width at a time, and gives the first error;
// after one, no more are begun.
func each(n, width int, fn func(i int) error) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards next and first
		next  int
		first error
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if first != nil || next >= n {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(n, width) {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				if err := fn(i); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}

// masters calls fn for every master, one at a time.
func (s *Store) masters(ctx context.Context, fn func(ctx context.Context, node *redis.Client) error) error {
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		var mu sync.Mutex // ForEachMaster calls in parallel
		return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			return fn(ctx, node)
		})
	case *redis.Client:
		return fn(ctx, c)
	}
	return errors.New("unknown kind of client")
}
