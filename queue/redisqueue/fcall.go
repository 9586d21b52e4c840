package redisqueue

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// missing is a library to be put back on masters that have lost it: by FUNCTION
// FLUSH, by a gateway of another version, or with their data.
type missing struct {
	turn chan struct{}        // holds one value while nobody is at it
	put  map[string]time.Time // by the master's address; whoever has the turn may use it
}

func newMissing() *missing {
	m := &missing{turn: make(chan struct{}, 1), put: make(map[string]time.Time)}
	m.turn <- struct{}{}
	return m
}

// restore puts the library on a key's master, unless another call has since a
// time at which it was missing there.
func (s *Store) restore(ctx context.Context, key string, missed time.Time) error {
	node, err := s.master(ctx, key)
	if err != nil {
		return err
	}
	select {
	case <-s.missing.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.missing.turn <- struct{}{} }()
	addr := node.Options().Addr
	if s.missing.put[addr].After(missed) {
		return nil
	}
	now := time.Now()
	if err := s.sc.put(ctx, node); err != nil {
		return err
	}
	s.missing.put[addr] = now
	return nil
}

// master gives the master of a key.
func (s *Store) master(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.rdb.(type) {
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	case *redis.Client:
		return c, nil
	}
	return nil, errors.New("unknown kind of client")
}

// run calls a function on the master of its keys.
func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...any) (any, error) {
	var v any
	err := s.persist(ctx, func() (err error) {
		began := time.Now()
		v, err = s.rdb.FCall(ctx, sc.function, keys, args...).Result()
		if noFunction(err) {
			if err = s.restore(ctx, keys[0], began); err == nil {
				v, err = s.rdb.FCall(ctx, sc.function, keys, args...).Result()
			}
		}
		return err
	})
	if isNil(err) {
		return nil, nil
	}
	return v, failed(sc.name, err)
}

// runPart calls a function of a partition.
func (s *Store) runPart(ctx context.Context, sc *script, p int, extra []string, args ...any) (any, error) {
	return s.run(ctx, sc, s.k.with(p, extra...), s.args(args)...)
}

// args puts the clock's offset before a partition's function's own arguments.
func (s *Store) args(own []any) []any {
	return append(append(make([]any, 0, len(own)+1), s.offset()), own...)
}

// offset is what tests add to the store's clock, in microseconds.
func (s *Store) offset() int64 {
	if s.opts.ClockOffset == nil {
		return 0
	}
	return s.opts.ClockOffset().Microseconds()
}

// call is one function of many that run at once.
type call struct {
	sc   *script
	keys []string
	args []any

	val any
	err error
}

// runAll calls functions in one pipeline per master; each call has its own
// result. The error is the first of them.
func (s *Store) runAll(ctx context.Context, calls []*call) error {
	for rest := calls; len(rest) > 0; {
		n := min(len(rest), Partitions)
		pipe := s.rdb.Pipeline()
		cmds := make([]*redis.Cmd, n)
		for i, c := range rest[:n] {
			cmds[i] = pipe.FCall(ctx, c.sc.function, c.keys, c.args...)
		}
		_, _ = pipe.Exec(ctx) // each command has its error
		for i, c := range rest[:n] {
			c.val, c.err = cmds[i].Result()
			if errors.Is(c.err, redis.Nil) {
				c.err = nil
			}
			if noFunction(c.err) || passing(c.err) {
				c.val, c.err = s.run(ctx, c.sc, c.keys, c.args...)
			}
			c.err = failed(c.sc.name, c.err)
		}
		rest = rest[n:]
	}
	for _, c := range calls {
		if c.err != nil {
			return c.err
		}
	}
	return nil
}
