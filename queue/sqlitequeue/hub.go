package sqlitequeue

import (
	"context"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// maxHinted bounds the hosts that wait for a subscriber; beyond it the hint
// becomes "re-read all of yours".
const maxHinted = 4096

// hub carries hints to the gateways of this process. Sending never blocks: what
// a subscriber hasn't fetched yet is gathered.
type hub struct {
	mu   sync.Mutex // guards subs, and what is in them
	subs map[string]map[*subscriber]struct{}
}

// subscriber gathers the hints of one Subscribe.
type subscriber struct {
	hosts map[queue.HostID]struct{}
	all   bool
	wake  chan struct{} // holds one token while something is gathered
}

func (b *hub) subscribe(gateway string) *subscriber {
	u := &subscriber{all: true, hosts: map[queue.HostID]struct{}{}, wake: make(chan struct{}, 1)}
	u.wake <- struct{}{}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[string]map[*subscriber]struct{}{}
	}
	if b.subs[gateway] == nil {
		b.subs[gateway] = map[*subscriber]struct{}{}
	}
	b.subs[gateway][u] = struct{}{}
	return u
}

func (b *hub) unsubscribe(gateway string, u *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs[gateway], u)
	if len(b.subs[gateway]) == 0 {
		delete(b.subs, gateway)
	}
}

func (b *hub) listening() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs) > 0
}

// send gathers hints for their gateways' subscribers.
func (b *hub) send(hints []hint) {
	if len(hints) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range hints {
		for u := range b.subs[h.gateway] {
			if u.add(h.host); len(u.wake) == 0 {
				u.wake <- struct{}{} // room for it: only senders fill it, under mu
			}
		}
	}
}

func (u *subscriber) add(host queue.HostID) {
	switch {
	case u.all:
	case len(u.hosts) < maxHinted:
		u.hosts[host] = struct{}{}
	default:
		u.all = true
		clear(u.hosts)
	}
}

// take gives what was gathered.
func (b *hub) take(u *subscriber) queue.Hint {
	b.mu.Lock()
	defer b.mu.Unlock()
	var h queue.Hint
	for host := range u.hosts {
		h.Hosts = append(h.Hosts, host)
	}
	clear(u.hosts)
	u.all = false
	return h
}

// Subscribe calls fn with hints for the gateway's hosts until ctx or the store
// ends.
func (s *Store) Subscribe(ctx context.Context, gateway string, fn func(queue.Hint)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.verbs.Done()
	u := s.hub.subscribe(gateway)
	defer s.hub.unsubscribe(gateway, u)
	for {
		select {
		case <-u.wake:
			fn(s.hub.take(u))
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.closedError()
		}
	}
}

// Alive says that the gateway lives, for ttl.
func (s *Store) Alive(ctx context.Context, gateway string, ttl time.Duration) error {
	return s.write(ctx, 1, func(t *tx) error {
		service, err := t.service(ttl)
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT OR REPLACE INTO gateway VALUES (?, ?, ?)`, gateway, t.now.Add(ttl), service)
		return err
	})
}
