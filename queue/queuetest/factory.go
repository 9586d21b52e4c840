package queuetest

import (
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Factory opens stores for the suite.
type Factory struct {
	// Open gives a fresh, empty store. It is called from parallel tests, and
	// what it opens must not share state with another's (a new file, a new
	// prefix or database). Open fails the test if it can't, and registers with
	// t.Cleanup what must be cleaned up; the suite closes the Store itself.
	Open func(t testing.TB) *Instance
}

// Instance is one store under test with the levers that tests need. No field
// but Reopen may be nil.
type Instance struct {
	Store queue.Store

	// Advance moves the store's notion of now forward by d (back if it is negative), at once and
	// durably for this instance (Reopen keeps it). It shifts every time that the store
	// compares: deadlines, gateway liveness, overdue polls, driver timeouts,
	// uses of tokens, ages in retention. It must not sweep: service time stands until the suite calls
	// Sweep, and then advances by queue.MaxTick at most. The clock may also run by itself
	// (a real one) or not at all; the suite bears both.
	//
	// SQLite: an injected clock. Redis: an offset that the store adds to TIME, so deadlines are
	// stored as values, and a key's TTL only collects garbage.
	Advance func(d time.Duration)

	// SetRoom bounds the store to limit bytes from now on, so that the suite can
	// bring it to where submits give Full; 0 = not bounded. Room must report the
	// limit.
	SetRoom func(limit int64)

	// Reopen closes Store and opens the same data again, as after an orderly
	// restart. Nil leaves those tests out.
	Reopen func(t testing.TB) queue.Store
}
