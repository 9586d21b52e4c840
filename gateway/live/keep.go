package live

import (
	"slices"
	"time"
)

// Bounds of the values that a feed keeps without a watcher: whoever was cut off comes back soon, and gets
// what has changed since, not everything.
const (
	KeepBytes  = 16 << 20
	KeepFor    = 2 * time.Minute
	keepValues = 256
)

// kept are values whose last watcher has gone, the oldest first. The zero value is ready.
type kept[K comparable, V any] struct {
	entries []keptValue[K, V]
	bytes   int
}

type keptValue[K comparable, V any] struct {
	key   K
	value V
	size  int
	since time.Time
}

// put keeps a value, and drops what there is no room for.
func (k *kept[K, V]) put(key K, value V, size int, now time.Time) {
	k.entries = append(k.entries, keptValue[K, V]{key, value, size, now})
	k.bytes += size
	for len(k.entries) > 0 && (k.bytes > KeepBytes || len(k.entries) > keepValues || now.Sub(k.entries[0].since) > KeepFor) {
		k.drop(0)
	}
}

// take gives a value that was kept, and keeps it no longer.
func (k *kept[K, V]) take(key K, now time.Time) (value V, ok bool) {
	i := slices.IndexFunc(k.entries, func(e keptValue[K, V]) bool { return e.key == key })
	if i < 0 {
		return value, false
	}
	e := k.entries[i]
	k.drop(i)
	if now.Sub(e.since) > KeepFor {
		return value, false
	}
	return e.value, true
}

func (k *kept[K, V]) drop(i int) {
	k.bytes -= k.entries[i].size
	k.entries = slices.Delete(k.entries, i, i+1) // which clears what is behind
}

// keep keeps a key's value; the caller holds Feed.mu.
func (f *Feed[K, V]) keep(key K, w *watched[V]) {
	if f.o.Size == nil || f.closed {
		return
	}
	w.mu.Lock()
	value, known := w.value, w.known
	w.mu.Unlock()
	if known {
		f.kept.put(key, value, f.o.Size(value), time.Now())
	}
}
