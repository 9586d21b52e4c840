package redisqueue

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// Bounds of a lane, which has one pipeline on the way, and what that, and a function's
// call in it, hold at most.
const (
	masterLanes = 2
	laneCalls   = 1024
	laneBytes   = 1 << 20
	scriptCalls = 32 // a millisecond or so
	scriptKeys  = 256
	scriptBytes = 256 << 10
)

// lanes gather the calls of concurrent goroutines: those to one partition into one
// call of a function, those to one master into one pipeline. While one pipeline is on
// the way, the next fills up; nothing waits for company. A master has two lanes, each for half of the
// partitions, so that one is filled and read while the other is served, and all that waits for a
// partition still comes together. What is queued is bounded by the callers, who all wait.
type lanes struct {
	s    *Store
	quit chan struct{}
	wg   sync.WaitGroup

	mu sync.Mutex
	m  map[laneID]chan *laned // guarded by mu
}

type laneID struct {
	master string // its address
	n      int
}

// laned is one call of a busy verb, for one host: see every() in lua/execution.lua.
type laned struct {
	ctx  context.Context
	sc   *script
	p    int
	host queue.HostID
	keys []string // its own, beside the partition's
	call string   // packed

	reply row
	err   error
	done  chan struct{}
}

func newLanes(s *Store) *lanes {
	return &lanes{s: s, quit: make(chan struct{}), m: make(map[laneID]chan *laned)}
}

// close ends the workers; no call may be under way.
func (l *lanes) close() {
	close(l.quit)
	l.wg.Wait()
}

// do runs a call and waits for its answer, or for ctx.
func (l *lanes) do(ctx context.Context, c *laned) (row, error) {
	node, err := l.s.master(ctx, l.s.k.base[c.p][0])
	if err != nil {
		return nil, failed(c.sc.name, err)
	}
	c.ctx, c.done = ctx, make(chan struct{})
	select {
	case l.lane(node, c.p%masterLanes) <- c:
	case <-ctx.Done():
		return nil, failed(c.sc.name, ctx.Err())
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, failed(c.sc.name, ctx.Err())
	}
	if l.alone(c.err) {
		// Its slot or master is on its way elsewhere: the others needn't wait for that.
		v, err := l.s.run(ctx, c.sc, l.s.k.with(c.p, c.keys...), l.s.offset(), c.call)
		if err != nil {
			return nil, err
		}
		c.answer(l.s, []*laned{c}, v)
	}
	return c.reply, failed(c.sc.name, c.err)
}

// alone tells whether a call that failed is to be repeated by itself.
func (l *lanes) alone(err error) bool {
	return err != nil && (noFunction(err) || passing(err) || l.s.cluster && !errors.Is(err, context.Canceled))
}

func (l *lanes) lane(node *redis.Client, n int) chan *laned {
	key := laneID{node.Options().Addr, n}
	l.mu.Lock()
	defer l.mu.Unlock()
	ch, ok := l.m[key]
	if !ok {
		ch = make(chan *laned, laneCalls)
		l.m[key] = ch
		l.wg.Go(func() { l.work(node, ch) })
	}
	return ch
}

func (l *lanes) work(node *redis.Client, ch chan *laned) {
	for {
		select {
		case <-l.quit:
			return
		case c := <-ch:
			batch, size := []*laned{c}, len(c.call)
		gather:
			for len(batch) < laneCalls && size < laneBytes {
				select {
				case c := <-ch:
					batch, size = append(batch, c), size+len(c.call)
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
	groups := group(batch)
	cmds := make([]*redis.Cmd, len(groups))
	pipe := node.Pipeline()
	for i, g := range groups {
		keys, args := l.s.k.with(g[0].p), make([]any, 1, len(g)+1)
		args[0] = l.s.offset()
		for _, c := range g {
			keys, args = append(keys, c.keys...), append(args, c.call)
		}
		cmds[i] = pipe.FCall(ctx, g[0].sc.function, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its error
	for i, g := range groups {
		v, err := cmds[i].Result()
		if err == nil {
			g[0].answer(l.s, g, v)
		}
		for _, c := range g {
			if err != nil {
				c.err = err
			}
			close(c.done)
		}
	}
}

// group joins calls of one script in one partition, none with two of one
// host, and leaves out those whose callers have gone.
func group(batch []*laned) [][]*laned {
	type key struct {
		sc *script
		p  int
	}
	var groups [][]*laned
	open := make(map[key]int)
	size, keys := make(map[key]int), make(map[key]int)
	for _, c := range batch {
		if c.err = c.ctx.Err(); c.err != nil {
			close(c.done)
			continue
		}
		k := key{c.sc, c.p}
		i, ok := open[k]
		if ok && len(groups[i]) < scriptCalls && size[k]+len(c.call) <= scriptBytes && keys[k]+len(c.keys) <= scriptKeys && !names(groups[i], c.host) {
			groups[i] = append(groups[i], c)
			size[k], keys[k] = size[k]+len(c.call), keys[k]+len(c.keys)
			continue
		}
		open[k], size[k], keys[k] = len(groups), len(c.call), len(c.keys)
		groups = append(groups, []*laned{c})
	}
	return groups
}

func names(group []*laned, h queue.HostID) bool {
	for _, c := range group {
		if c.host == h {
			return true
		}
	}
	return false
}

// answer hands a script's answer to the calls that were in it.
func (c *laned) answer(s *Store, group []*laned, v any) {
	a, _ := v.([]any)
	r := row(a)
	s.hinter.send(r.row(2))
	replies := r.row(1)
	for i, c := range group {
		c.err, c.reply = nil, replies.row(i+1)
		switch c.reply.str(1) {
		case "fail":
			c.err = &queue.Error{Code: queue.Code(c.reply.str(2)), Message: c.reply.str(3)}
		case "":
			c.err = errors.New("the script gave no answer")
		}
	}
}
