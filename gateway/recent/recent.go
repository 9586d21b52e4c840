// Package recent holds a map that is bounded by forgetting what wasn't used
// lately. It is what caches and per-identity limits are kept in.
package recent

import "sync"

// Map keeps up to Max entries; beyond it, roughly the least recently used half
// goes at once. It is safe for concurrent use. The zero value isn't usable; see New.
//
// Lock order: mu is a leaf.
type Map[K comparable, V any] struct {
	half int

	mu   sync.Mutex
	cur  map[K]V // used since the last turn
	prev map[K]V // used in the turn before
}

// New makes a map of at most max entries; max is at least 2.
func New[K comparable, V any](max int) *Map[K, V] {
	return &Map[K, V]{half: (max + 1) / 2, cur: map[K]V{}}
}

// Get gives the value of a key and counts as a use of it.
func (m *Map[K, V]) Get(k K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(k)
}

func (m *Map[K, V]) get(k K) (V, bool) {
	if v, ok := m.cur[k]; ok {
		return v, true
	}
	v, ok := m.prev[k]
	if ok {
		delete(m.prev, k)
		m.put(k, v)
	}
	return v, ok
}

// GetOr gives the value of a key, or puts the one that make gives. make runs
// under the map's lock and must be quick.
func (m *Map[K, V]) GetOr(k K, make func() V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.get(k)
	if !ok {
		v = make()
		m.put(k, v)
	}
	return v
}

// Put sets the value of a key.
func (m *Map[K, V]) Put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.prev, k)
	m.put(k, v)
}

func (m *Map[K, V]) put(k K, v V) {
	if _, ok := m.cur[k]; !ok && len(m.cur) >= m.half {
		m.prev, m.cur = m.cur, map[K]V{}
	}
	m.cur[k] = v
}

// Delete forgets a key.
func (m *Map[K, V]) Delete(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cur, k)
	delete(m.prev, k)
}

// Len is the number of entries.
func (m *Map[K, V]) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.cur) + len(m.prev)
}
