// Package live tells those who watch what changes in the store: the end of a job, the
// states of its hosts, more output of an execution.
//
// A [Feed] reads what is watched: one reader for each key, however many watch it. The
// reader reads at once when it is told that something happened on this gateway
// ([Feed.Touch]), and otherwise at an interval that grows while nothing
// changes, since what happens through another gateway isn't told here. Nothing
// depends on a touch. How often it reads is bounded by what a reading costs ([Pace]).
//
// [Views] are feeds of the topics of a watch ([Topic]), whose values know how they came about. A
// watch of a topic is a [View]: it is asked for what is new ([View.Next]) whenever its
// reader can take more, so that nothing is queued for anybody, and who reads slowly gets
// fewer and larger updates. Where it stands is a [Position]; the positions of all
// topics of a watch are its [Cursor].
//
// The values of a feed are immutable: a reading makes another one, which may share parts
// with the one before.
//
// Lock order: Feed.mu, then watched.mu; neither is held while reading.
package live

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// MaxWatchers bounds the watchers of a feed.
const MaxWatchers = 20_000

// Options set a feed up. Read and Same are needed.
type Options[K comparable, V any] struct {
	// Read gives the value of a key. last is what was read before, if anything was.
	Read func(ctx context.Context, key K, last V) (V, error)
	// Same tells that nothing worth waking for has changed.
	Same func(a, b V) bool
	// Pace says how often to read, by what was read last. nil = DefaultPace.
	Pace func(last V) Pace
	// Size is about how many bytes a value takes. If it is given, values outlive their
	// last watcher for a while, within KeepBytes and KeepFor.
	Size func(V) int
}

// Feed lets many watch the values of keys. Make it with New, end it with Close.
type Feed[K comparable, V any] struct {
	o      Options[K, V]
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	now    chan struct{} // closed
	keys   atomic.Int64  // that are watched: most often none, where a touch must cost nothing

	mu       sync.Mutex // guards what follows
	watched  map[K]*watched[V]
	watchers int
	kept     kept[K, V]
	closed   bool
}

// watched is one key's reader and what it read last.
type watched[V any] struct {
	touch chan struct{} // of capacity 1

	watchers int // guarded by Feed.mu
	stop     context.CancelFunc

	mu       sync.Mutex // guards what follows
	version  int        // 0 = nothing was read yet
	value    V          // that was read last, or that was kept
	known    bool       // there is a value
	err      error      // of the last reading
	asked    int        // how often a fresh reading was asked for
	answered int        // how many of these a reading has begun after
	news     chan struct{}
}

// New makes a feed.
func New[K comparable, V any](o Options[K, V]) *Feed[K, V] {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Feed[K, V]{o: o, ctx: ctx, cancel: cancel, watched: map[K]*watched[V]{}, now: make(chan struct{})}
	close(f.now)
	return f
}

// Watch begins to watch a key. Close the watcher. Errors: Unavailable (too many
// watchers, or the feed is closed).
func (f *Feed[K, V]) Watch(key K) (*Watcher[K, V], error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errClosed()
	}
	if f.watchers >= MaxWatchers {
		return nil, &queue.Error{Code: queue.Unavailable, Message: "too many watchers on this gateway; ask again", Retry: 10 * time.Second}
	}
	w, ok := f.watched[key]
	if !ok {
		ctx, stop := context.WithCancel(f.ctx)
		w = &watched[V]{touch: make(chan struct{}, 1), stop: stop, news: make(chan struct{})}
		w.value, w.known = f.kept.take(key, time.Now())
		f.watched[key] = w
		f.keys.Add(1)
		f.done.Go(func() { f.follow(ctx, key, w) })
	}
	w.watchers++
	f.watchers++
	return &Watcher[K, V]{feed: f, key: key, w: w}, nil
}

func errClosed() error {
	return &queue.Error{Code: queue.Unavailable, Message: "this gateway is going; ask again", Retry: time.Second}
}

// Touch says that a key may have changed. It never blocks.
func (f *Feed[K, V]) Touch(key K) {
	if f.keys.Load() == 0 {
		return
	}
	f.mu.Lock()
	w := f.watched[key]
	f.mu.Unlock()
	if w != nil {
		w.poke()
	}
}

func (w *watched[V]) poke() {
	select {
	case w.touch <- struct{}{}:
	default:
	}
}

// Watching is the number of keys that are read.
func (f *Feed[K, V]) Watching() int { return int(f.keys.Load()) }

// Close ends all readers and waits for them. Next of all watchers gives
// Unavailable then.
func (f *Feed[K, V]) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.done.Wait()
}

// follow reads a key until its last watcher has gone.
func (f *Feed[K, V]) follow(ctx context.Context, key K, w *watched[V]) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var pause time.Duration
	for {
		last, known, asked := w.begin()
		began := time.Now()
		value, err := f.o.Read(ctx, key, last)
		took := time.Since(began)
		if ctx.Err() != nil {
			return
		}
		changed := w.publish(value, err, asked, f.o.Same)
		p := DefaultPace
		switch {
		case err != nil:
			took = 0 // what an outage lasts says nothing of what a reading costs
		case f.o.Pace != nil:
			p = f.o.Pace(value)
		}
		if changed || !known || pause == 0 {
			pause = p.Shortest
		}
		pause = min(pause, p.Longest)
		rest, wait := p.pauses(pause, took, f.Watching())
		timer.Reset(rest)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(wait - rest)
		select {
		case <-timer.C:
			pause *= 2
		case <-w.touch:
		case <-ctx.Done():
			return
		}
	}
}

// begin gives what the reading that begins now builds on and answers.
func (w *watched[V]) begin() (last V, known bool, asked int) {
	select {
	case <-w.touch: // this reading will see it
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.value, w.known, w.asked
}

// publish keeps what was read, wakes the watchers if it is news or somebody asked for it, and
// tells whether it is news.
func (w *watched[V]) publish(value V, err error, asked int, same func(a, b V) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	// An outage is told with every reading, so that those who wait can give up.
	changed := err != nil || w.err != nil || w.version == 0 || !same(w.value, value)
	w.err = err
	if err == nil {
		w.value, w.known = value, true
		changed = changed || asked > w.answered
		w.answered = asked
	}
	if changed {
		w.version++
		close(w.news)
		w.news = make(chan struct{})
	}
	return changed && err == nil
}
