package sessiontest

import (
	"testing"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What a cancel does: while the host is there, and while it is away.

func testCancelRunning(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	h.link.Send(h.started(j))
	h.stored(j, 2)
	w.cancel(id)
	c := expect[*wire.Cancel](h)
	if c.Execution != j.Execution || c.N <= j.N || c.Grace != j.Spec.Grace {
		t.Fatalf("got %+v", c)
	}
	h.after = c.N
	h.link.Send(h.finished(j, 3, wire.Cancelled))
	h.stored(j, 3)
	w.state(id, h, queue.Cancelled)
}

func testCancelLeased(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	w.cancel(id)
	h.link.Send(h.accepted(j))
	a := expect[*wire.Ack](h)
	if a.Verdict != wire.VerdictForget || a.Reason == "" {
		t.Fatalf("got %+v", a)
	}
	w.state(id, h, queue.Cancelled)
	// accepted was lost on the way, and comes again.
	h.link.Send(h.accepted(j))
	if a := expect[*wire.Ack](h); a.Verdict != wire.VerdictForget {
		t.Fatalf("got %+v", a)
	}
}

// testCancelAway cancels what a host has in hand while it is away. It learns it by the welcome when it comes back, and
// confirms it; the lane is free then.
func testCancelAway(t *testing.T, w *world) {
	for _, started := range []bool{false, true} {
		h := w.host("h").attached()
		id := w.submit("x", queue.Spec{}, h)
		j := h.jobOf(id)
		h.accept(j)
		last := int64(1)
		if started {
			h.link.Send(h.started(j))
			h.stored(j, 2)
			last = 2
		}
		h.link.Cut()
		w.cancel(id)
		before := w.execution(id, h)
		if before.State.Terminal() || before.CancelledAt.IsZero() {
			t.Fatalf("before the host confirmed it: %+v", before)
		}
		cancelled(h, h.attach(), j, last)
		w.state(id, h, queue.Cancelled)
		next := w.submit("x", queue.Spec{}, h)
		n := h.jobOf(next)
		h.accept(n)
		h.finish(n)
		h.link.Cut()
	}
}

// cancelled expects that a welcome cancels what the host has in hand, and confirms it.
func cancelled(h *host, wel *wire.Welcome, j *wire.Job, last int64) {
	h.t.Helper()
	if len(wel.Executions) != 1 || wel.Executions[0].Execution != j.Execution || wel.Executions[0].Verdict != wire.VerdictCancel || wel.Executions[0].Stored != last {
		h.t.Fatalf("welcome %+v", wel)
	}
	h.link.Send(h.finished(j, last+1, wire.Cancelled))
	h.stored(j, last+1)
}

// testCancelUntold cancels what a host doesn't have in hand while it is away: what waits for it, and what was delivered,
// whose accepted was lost on the way. Neither starts.
func testCancelUntold(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.link.Cut()
	waiting := w.submit("x", queue.Spec{}, h)
	w.cancel(id)
	w.cancel(waiting)
	w.state(waiting, h, queue.Cancelled)
	m := h.accepted(j)
	wel := h.attach()
	if len(wel.Executions) != 1 {
		t.Fatalf("welcome %+v", wel)
	}
	switch r := wel.Executions[0]; r.Verdict {
	case wire.VerdictForget:
	case wire.VerdictCancel, "":
		if h.link.Send(m); expect[*wire.Ack](h).Verdict != wire.VerdictForget {
			t.Fatalf("it may start; it was welcomed with %+v", r)
		}
	default:
		t.Fatalf("welcomed with %+v", r)
	}
	w.until("it is cancelled", func() bool { return w.execution(id, h).State == queue.Cancelled })
	delete(h.inHand, j.Execution)
	h.nothing()
	next := w.submit("x", queue.Spec{}, h)
	h.accept(h.jobOf(next))
}
