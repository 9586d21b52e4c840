package sqlitequeue

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Bounds of what waits for the writer, and of one commit.
const (
	maxWaiting = 4096
	maxBatch   = 1024 // verbs
	maxWeight  = 4096 // rows, about; one verb may be heavier
)

// writer owns the one connection that writes. It gathers the verbs that wait
// into one transaction and acknowledges them after its commit.
//
// A verb in a batch must not undo another. Verbs check before they change, so
// that one that fails has changed nothing and the others go on; should it have changed something,
// or the engine have failed, the transaction is rolled back and its verbs are
// run again, each in one of its own. (A savepoint a verb gives the same, and was measured to double
// the cost of a small verb, since each copies the pages that it touches.)
type writer struct {
	open  func() (*sqlite.Conn, error)
	check func() error // whether the files are still there
	now   func() time.Time
	after func(*tx) // what a commit is followed by, before its verbs are acknowledged
	log   *slog.Logger

	c      *sqlite.Conn
	renew  bool // the connection is to be opened anew
	failed bool // the last batch failed; for logging once
	cache  cache
	ops    chan *op
	ended  chan struct{}
}

// op is a verb, or a step of one, in the writer.
type op struct {
	run    func(*tx) error
	weight int
	err    error
	taken  atomic.Bool // by the writer, or by a caller that gave up
	done   chan struct{}
}

func (w *writer) start() {
	w.ops = make(chan *op, maxWaiting)
	w.ended = make(chan struct{})
	go w.loop()
}

// stop waits for the writer to end; no do may be running, or come after.
func (w *writer) stop() {
	close(w.ops)
	<-w.ended
}

// do hands a verb to the writer and waits for its commit. If ctx ends before
// the writer has taken it, it is not applied.
func (w *writer) do(ctx context.Context, weight int, run func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o := &op{run: run, weight: max(weight, 1), done: make(chan struct{})}
	select {
	case w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		if o.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
	}
	// In the batch that is being committed: an exact answer is near.
	<-o.done
	return o.err
}

func (w *writer) loop() {
	defer close(w.ended)
	for first := range w.ops {
		w.commit(w.gather(first))
	}
}

// gather takes what waits, up to the bounds of a batch.
func (w *writer) gather(first *op) (batch []*op) {
	weight := 0
	add := func(o *op) {
		if o.taken.CompareAndSwap(false, true) {
			batch = append(batch, o)
			weight += o.weight
		}
	}
	add(first)
	for len(batch) < maxBatch && weight < maxWeight {
		select {
		case o, ok := <-w.ops:
			if !ok {
				return batch
			}
			add(o)
			continue
		default:
		}
		break
	}
	return batch
}

// commit applies a batch and acknowledges it.
func (w *writer) commit(batch []*op) {
	err := w.try(batch)
	if err != nil && len(batch) == 1 {
		batch[0].err = err
	} else if err != nil {
		for i := range batch {
			batch[i].err = nil
			if err := w.try(batch[i : i+1]); err != nil {
				batch[i].err = err
			}
		}
	}
	for _, o := range batch {
		close(o.done)
	}
}

// try applies a batch in one transaction. Errors that verbs gave before any
// change are in them; on an error nothing of the batch is applied.
func (w *writer) try(batch []*op) (err error) {
	defer func() { w.note(err) }()
	if err := w.check(); err != nil {
		return err
	}
	if w.renew {
		w.reopen()
	}
	t := &tx{c: w.c, now: w.now(), cache: &w.cache}
	if err := query(w.c, nil, `BEGIN IMMEDIATE`); err != nil {
		return w.undo(err)
	}
	for _, o := range batch {
		t.changed = false
		if o.err = o.run(t); o.err == nil {
			continue
		}
		var qe *queue.Error
		if t.changed || !errors.As(o.err, &qe) {
			return w.undo(o.err)
		}
	}
	if err := t.flush(); err != nil {
		return w.undo(err)
	}
	if err := query(w.c, nil, `COMMIT`); err != nil {
		return w.undo(err)
	}
	w.after(t)
	return nil
}

// undo rolls back. What is cached may come from what is undone.
func (w *writer) undo(cause error) error {
	w.cache.clear()
	w.renew = broken(cause)
	if !w.c.AutocommitEnabled() { // some failures have rolled back already
		w.renew = query(w.c, nil, `ROLLBACK`) != nil || w.renew
	}
	return cause
}

// reopen replaces the connection after a failure that may have damaged it, if
// that can be done: the old one is better than none, and closing the last one of
// the file would need the disk.
func (w *writer) reopen() {
	c, err := w.open()
	if err != nil {
		return // the next failure says why
	}
	if err := w.c.Close(); err != nil {
		w.log.Warn("a failed connection to the store could not be closed", "error", err)
	}
	w.c, w.renew = c, false
}

// note logs when the store begins to fail and when it works again; each caller
// gets its own error besides.
func (w *writer) note(err error) {
	var qe *queue.Error
	failed := err != nil && !errors.As(err, &qe)
	if failed && !w.failed {
		w.log.Error("store fails", "error", err)
	}
	if !failed && w.failed {
		w.log.Info("store works again")
	}
	w.failed = failed
}
