package session

import (
	"container/list"
	"context"
	"sync"
)

// cache keeps values that never change, bounded in bytes; those not used for
// the longest go first. Concurrent gets of one key load it once.
type cache[K comparable, V any] struct {
	load func(K) (V, error) // not cut by a caller's context: others wait for it
	size func(V) int64
	max  int64

	mu      sync.Mutex // guards the following
	entries map[K]*list.Element
	order   *list.List // of *entry, the last used first
	used    int64
}

type entry[K comparable, V any] struct {
	key   K
	ready chan struct{} // closed when the rest is set
	v     V
	err   error
	size  int64
}

// entryOverhead is about what an entry takes besides its value.
const entryOverhead = 256

func newCache[K comparable, V any](max int64, size func(V) int64, load func(K) (V, error)) *cache[K, V] {
	return &cache[K, V]{load: load, size: size, max: max, entries: map[K]*list.Element{}, order: list.New()}
}

// get gives the value of a key. Errors are not kept. Who comes while a
// value is being loaded shares the load and its error.
func (c *cache[K, V]) get(ctx context.Context, key K) (V, error) {
	c.mu.Lock()
	if el, ok := c.entries[key]; ok {
		e := el.Value.(*entry[K, V])
		c.order.MoveToFront(el)
		c.mu.Unlock()
		select {
		case <-e.ready:
			return e.v, e.err
		case <-ctx.Done():
			var zero V
			return zero, ctx.Err()
		}
	}
	e := &entry[K, V]{key: key, ready: make(chan struct{})}
	el := c.order.PushFront(e)
	c.entries[key] = el
	c.mu.Unlock()

	e.v, e.err = c.load(key)
	close(e.ready)

	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err != nil {
		c.drop(el)
		return e.v, e.err
	}
	e.size = c.size(e.v) + entryOverhead
	c.used += e.size
	for el := c.order.Back(); el != nil && c.used > c.max; {
		prev := el.Prev()
		if el.Value.(*entry[K, V]).size > 0 { // else being loaded
			c.drop(el)
		}
		el = prev
	}
	return e.v, nil
}

func (c *cache[K, V]) drop(el *list.Element) {
	e := el.Value.(*entry[K, V])
	c.used -= e.size
	delete(c.entries, e.key)
	c.order.Remove(el)
}
