// Package live wakes those who wait for something in the store to change: the end of
// a job, more output of an execution.
//
// Whatever is watched is read by one reader, however many watch it. The reader
// reads at once when it is told that something happened on this gateway
// ([Feed.Touch]), and otherwise at an interval that grows while nothing
// changes, since what happens through another gateway isn't told here. Nothing
// depends on a touch.
//
// Lock order: Feed.mu, then watched.mu; neither is held while reading.
package live

import (
	"context"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// The pace of a reader.
const (
	Shortest = 100 * time.Millisecond // between readings after a change
	Longest  = time.Second            // between readings while nothing changes
	Soonest  = 20 * time.Millisecond  // between readings however often it is touched
)

// MaxWatchers bounds the watchers of a feed.
const MaxWatchers = 20_000

// Feed lets many watch the values of keys. Make it with New, end it with Close.
type Feed[K comparable, V any] struct {
	read func(context.Context, K) (V, error)
	same func(a, b V) bool

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex // guards what follows
	watched  map[K]*watched[V]
	watchers int
	closed   bool
}

// watched is one key's reader and what it read last.
type watched[V any] struct {
	touch chan struct{} // of capacity 1

	watchers int // guarded by Feed.mu
	stop     context.CancelFunc

	mu      sync.Mutex // guards what follows
	version int
	value   V
	err     error
	news    chan struct{} // closed at the next version
}

// New makes a feed. read gives the value of a key; same tells that nothing worth
// waking for has changed.
func New[K comparable, V any](read func(context.Context, K) (V, error), same func(a, b V) bool) *Feed[K, V] {
	ctx, cancel := context.WithCancel(context.Background())
	return &Feed[K, V]{read: read, same: same, ctx: ctx, cancel: cancel, watched: map[K]*watched[V]{}}
}

// Watcher sees the values of one key. It is for one goroutine.
type Watcher[K comparable, V any] struct {
	feed *Feed[K, V]
	key  K
	w    *watched[V]
	seen int
}

// Watch begins to watch a key. Close the watcher. Errors: Unavailable (too many
// watchers, or the feed is closed).
func (f *Feed[K, V]) Watch(key K) (*Watcher[K, V], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, &queue.Error{Code: queue.Unavailable, Message: "this gateway is going; ask again", Retry: time.Second}
	}
	if f.watchers >= MaxWatchers {
		return nil, &queue.Error{Code: queue.Unavailable, Message: "too many watchers on this gateway; ask again", Retry: 10 * time.Second}
	}
	w, ok := f.watched[key]
	if !ok {
		ctx, stop := context.WithCancel(f.ctx)
		w = &watched[V]{touch: make(chan struct{}, 1), stop: stop, news: make(chan struct{})}
		f.watched[key] = w
		f.done.Go(func() { f.follow(ctx, key, w) })
	}
	w.watchers++
	f.watchers++
	return &Watcher[K, V]{feed: f, key: key, w: w}, nil
}

// Touch says that a key may have changed. It never blocks.
func (f *Feed[K, V]) Touch(key K) {
	f.mu.Lock()
	w := f.watched[key]
	f.mu.Unlock()
	if w == nil {
		return
	}
	select {
	case w.touch <- struct{}{}:
	default:
	}
}

// Watching is the number of keys that are read.
func (f *Feed[K, V]) Watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watched)
}

// Close ends all readers and waits for them. Next of all watchers gives
// Unavailable then.
func (f *Feed[K, V]) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.done.Wait()
}

// Next gives a value that this watcher hasn't seen, waiting for one if need be; the first
// is that of a reading that began after Watch, or the newest there is. Errors: ctx's,
// the reader's (a later Next may succeed), Unavailable once the feed is closed.
func (w *Watcher[K, V]) Next(ctx context.Context) (V, error) {
	for {
		w.w.mu.Lock()
		version, value, err, news := w.w.version, w.w.value, w.w.err, w.w.news
		w.w.mu.Unlock()
		if version > w.seen {
			w.seen = version
			return value, err
		}
		var zero V
		select {
		case <-news:
		case <-ctx.Done():
			return zero, ctx.Err()
		case <-w.feed.ctx.Done():
			return zero, &queue.Error{Code: queue.Unavailable, Message: "this gateway is going; ask again", Retry: time.Second}
		}
	}
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
	}
	w.w = nil
}

// follow reads a key until its last watcher has gone.
func (f *Feed[K, V]) follow(ctx context.Context, key K, w *watched[V]) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	pause := Shortest
	for {
		began := time.Now()
		value, err := f.read(ctx, key)
		if ctx.Err() != nil {
			return
		}
		if w.publish(value, err, f.same) {
			pause = Shortest
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, Longest)
			continue
		case <-w.touch:
		case <-ctx.Done():
			return
		}
		// Touched: at once, but not more often than Soonest.
		timer.Reset(max(0, Soonest-time.Since(began)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// publish keeps what was read and wakes the watchers if it is news.
func (w *watched[V]) publish(value V, err error, same func(a, b V) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.version > 0 && err == nil && w.err == nil && same(w.value, value) {
		return false
	}
	// An outage is told with every reading, so that those who wait can give up.
	w.version++
	w.value, w.err = value, err
	close(w.news)
	w.news = make(chan struct{})
	return err == nil
}
