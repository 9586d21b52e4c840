package redisqueue

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

const (
	hintHosts   = 300  // in one message
	hintBacklog = 4096 // scripts' answers that wait to be sent; beyond it hints are dropped
	hintPing    = 5 * time.Second
	hintGiveUp  = time.Minute // of failing to resubscribe
)

// hinter sends hints beside the verbs that cause them: while one batch is on its
// way, the next gathers. What can't be sent is lost, as hints may be.
type hinter struct {
	s    *Store
	ch   chan row
	done chan struct{}
}

func newHinter(s *Store) *hinter {
	h := &hinter{s: s, ch: make(chan row, hintBacklog), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for first := range h.ch {
			h.batch(first)
		}
	}()
	return h
}

// close sends what waits; send may not be called any more.
func (h *hinter) close() {
	close(h.ch)
	<-h.done
}

// send takes what a script answered: gateway, host, gateway, host, ...
func (h *hinter) send(hints row) {
	if len(hints) == 0 {
		return
	}
	select {
	case h.ch <- hints:
	default:
	}
}

func (h *hinter) batch(hints row) {
	hosts := make(map[string][]string)
	seen := make(map[string]bool)
	for n := 0; ; n++ {
		for i := 1; i < len(hints); i += 2 {
			gateway, host := hints.str(i), hints.str(i+1)
			if key := gateway + "\x00" + host; gateway != "" && !seen[key] {
				seen[key] = true
				hosts[gateway] = append(hosts[gateway], host)
			}
		}
		if n == 64 {
			break
		}
		select {
		case next, ok := <-h.ch:
			if ok {
				hints = next
				continue
			}
		default:
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pipe := h.s.rdb.Pipeline()
	for gateway, names := range hosts {
		for len(names) > 0 {
			n := min(len(names), hintHosts)
			pipe.SPublish(ctx, h.s.k.channel(gateway), strings.Join(names[:n], "\n"))
			names = names[n:]
		}
	}
	_, _ = pipe.Exec(ctx) // hints are lossy: the ready sets are the truth
}

// Subscribe listens on the gateway's channel, and says so with an empty hint
// whenever it has (re)subscribed: what was sent before is lost. After a break, nobody knows what the server that
// answers now has of the last writes.
func (s *Store) Subscribe(ctx context.Context, gateway string, fn func(queue.Hint)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.gone, cancel)()
	failing, again := time.Time{}, false
	once := func() {
		fn(queue.Hint{Again: again})
		again = true
	}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := s.listen(ctx, gateway, fn, once, func() { failing, pause = time.Time{}, 10*time.Millisecond })
		if s.gone.Err() != nil {
			return &queue.Error{Code: queue.Unavailable, Message: "redis: the store is closed"}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > hintGiveUp {
			return failed("subscribe", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// watch ends ctx when another process serves as a master of the cluster than before: the one that the channel is on
// isn't the only one that may have gone back.
func (s *Store) watch(ctx context.Context, stop context.CancelFunc) {
	tick := time.NewTicker(hintPing)
	defer tick.Stop()
	var before map[string]bool // by run_id
	for {
		var mu sync.Mutex // guards now
		now := make(map[string]bool)
		err := s.rdb.(*redis.ClusterClient).ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			info, err := node.InfoMap(ctx, "server").Result()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			now[info["Server"]["run_id"]] = true
			return nil
		})
		if err == nil {
			if before != nil && !maps.Equal(before, now) {
				stop()
				return
			}
			before = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listen subscribes once, and hands hints over until the connection ends, or in a cluster a master is another.
func (s *Store) listen(ctx context.Context, gateway string, fn func(queue.Hint), begun, subscribed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.cluster {
		wg.Go(func() { s.watch(ctx, cancel) })
	}
	sub := s.rdb.SSubscribe(ctx)
	defer sub.Close()
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer stop()
	if err := sub.SSubscribe(ctx, s.k.channel(gateway)); err != nil {
		return err
	}
	for quiet := false; ; {
		m, err := sub.ReceiveTimeout(ctx, hintPing)
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() && !quiet {
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			quiet = true
			continue
		}
		if err != nil {
			return err
		}
		quiet = false
		switch m := m.(type) {
		case *redis.Subscription:
			if m.Kind != "ssubscribe" {
				return errors.New("the channel's slot has moved")
			}
			subscribed()
			begun()
		case *redis.Message:
			var h queue.Hint
			for name := range strings.SplitSeq(m.Payload, "\n") {
				h.Hosts = append(h.Hosts, queue.HostID(name))
			}
			fn(h)
		}
	}
}

// ready reads the ready sets of a gateway, all partitions at once.
func (s *Store) ready(ctx context.Context, gateway string, limit int) ([]queue.HostID, error) {
	cmds := make([]*redis.StringSliceCmd, Partitions)
	err := s.pipeline(ctx, "ready", func(p redis.Pipeliner) {
		for part := range cmds {
			by := &redis.ZRangeBy{Min: "[" + gateway + "\x00", Max: "(" + gateway + "\x01", Count: int64(max(limit, 1))}
			cmds[part] = p.ZRangeByLex(ctx, s.k.part(part, "ready"), by)
		}
	})
	if err != nil {
		return nil, err
	}
	var hosts []queue.HostID
	for _, cmd := range cmds {
		for _, m := range cmd.Val() {
			if len(hosts) == limit {
				return hosts, nil
			}
			hosts = append(hosts, queue.HostID(m[len(gateway)+1:]))
		}
	}
	return hosts, nil
}
