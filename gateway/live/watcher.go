package live

import "context"

// Watcher sees the values of one key. It is for one goroutine.
type Watcher[K comparable, V any] struct {
	feed   *Feed[K, V]
	key    K
	w      *watched[V]
	seen   int
	ticket int // of the reading that Refresh asked for
}

// Next gives a value that this watcher hasn't seen, waiting for one if need be; the first
// is that of a reading that began after Watch, or the newest there is. Errors: ctx's,
// the reader's (a later Next may succeed), Unavailable once the feed is closed.
func (w *Watcher[K, V]) Next(ctx context.Context) (V, error) {
	var zero V
	for {
		if value, err, ok := w.Peek(); ok {
			return value, err
		}
		select {
		case <-w.News():
		case <-ctx.Done():
			return zero, ctx.Err()
		case <-w.feed.ctx.Done():
			return zero, errClosed()
		}
	}
}

// Peek gives the newest value, or the reader's error, if this watcher hasn't seen it. It
// doesn't wait.
func (w *Watcher[K, V]) Peek() (value V, err error, ok bool) {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	if w.w.version <= w.seen {
		return value, nil, false
	}
	w.seen = w.w.version
	if w.w.err != nil {
		return value, w.w.err, true
	}
	return w.w.value, nil, true
}

// News is closed as soon as Peek has something.
func (w *Watcher[K, V]) News() <-chan struct{} {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	if w.w.version > w.seen {
		return w.feed.now
	}
	return w.w.news
}

// Refresh asks for a reading that begins from now on; also if it finds nothing new,
// Peek gives its value. Fresh tells when that has been.
func (w *Watcher[K, V]) Refresh() {
	w.w.mu.Lock()
	w.w.asked++
	w.ticket = w.w.asked
	w.w.mu.Unlock()
	w.w.poke()
}

// Fresh tells whether the reading that the last Refresh asked for has been.
func (w *Watcher[K, V]) Fresh() bool {
	w.w.mu.Lock()
	defer w.w.mu.Unlock()
	return w.w.answered >= w.ticket
}

// Close ends the watch. The last watcher of a key ends its reader.
func (w *Watcher[K, V]) Close() {
	f := w.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.w == nil {
		return
	}
	f.watchers--
	if w.w.watchers--; w.w.watchers == 0 {
		w.w.stop()
		delete(f.watched, w.key)
		f.keys.Add(-1)
		f.keep(w.key, w.w)
	}
	w.w = nil
}
