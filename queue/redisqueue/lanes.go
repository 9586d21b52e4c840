package redisqueue

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Bounds of a lane: its workers, each with one pipeline on the way, and what a
// pipeline holds at most.
const (
	laneWorkers = 2
	laneCalls   = 64
	laneBytes   = 1 << 20
)

// lanes gather the scripts that concurrent goroutines run into one pipeline per
// master: while one is on the way, the next fills up. Nothing waits for
// company. What is queued is bounded by the callers, who all wait.
type lanes struct {
	node func(ctx context.Context, key string) (*redis.Client, error)
	quit chan struct{}
	wg   sync.WaitGroup

	mu sync.Mutex
	m  map[string]chan *laned // by the master's address; guarded by mu
}

type laned struct {
	ctx  context.Context
	sc   *script
	keys []string
	args []any
	size int
	cmd  *redis.Cmd
	err  error
	done chan struct{}
}

func newLanes(rdb redis.UniversalClient) *lanes {
	l := &lanes{quit: make(chan struct{}), m: make(map[string]chan *laned)}
	l.node = func(ctx context.Context, key string) (*redis.Client, error) {
		switch c := rdb.(type) {
		case *redis.ClusterClient:
			return c.MasterForKey(ctx, key)
		case *redis.Client:
			return c, nil
		}
		return nil, errors.New("unknown kind of client")
	}
	return l
}

// close ends the workers; no call may be under way.
func (l *lanes) close() {
	close(l.quit)
	l.wg.Wait()
}

// do runs a script and waits for its result, or for ctx.
func (l *lanes) do(ctx context.Context, sc *script, keys []string, args []any) (any, error) {
	node, err := l.node(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	c := &laned{ctx: ctx, sc: sc, keys: keys, args: args, done: make(chan struct{})}
	for _, a := range args {
		if s, ok := a.(string); ok {
			c.size += len(s)
		}
	}
	select {
	case l.lane(node) <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.err != nil {
		return nil, c.err
	}
	v, err := c.cmd.Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, err
}

func (l *lanes) lane(node *redis.Client) chan *laned {
	addr := node.Options().Addr
	l.mu.Lock()
	defer l.mu.Unlock()
	ch, ok := l.m[addr]
	if !ok {
		ch = make(chan *laned, laneCalls)
		l.m[addr] = ch
		for range laneWorkers {
			l.wg.Go(func() { l.work(node, ch) })
		}
	}
	return ch
}

func (l *lanes) work(node *redis.Client, ch chan *laned) {
	for {
		select {
		case <-l.quit:
			return
		case c := <-ch:
			batch, size := []*laned{c}, c.size
		gather:
			for len(batch) < laneCalls && size < laneBytes {
				select {
				case c := <-ch:
					batch, size = append(batch, c), size+c.size
				default:
					break gather
				}
			}
			l.send(node, batch)
		}
	}
}

// send runs a batch. It doesn't end with any caller's ctx: the others' calls are in
// it too, and the client's own timeouts bound it.
func (l *lanes) send(node *redis.Client, batch []*laned) {
	ctx := context.Background()
	pipe := node.Pipeline()
	for _, c := range batch {
		if c.err = c.ctx.Err(); c.err == nil {
			c.cmd = pipe.EvalSha(ctx, c.sc.sha, c.keys, c.args...)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its error
	for _, c := range batch {
		close(c.done)
	}
}
