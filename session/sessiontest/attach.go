package sessiontest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// How sessions begin and end.

func testSuperseded(t *testing.T, w *world) {
	h := w.host("h").attached()
	old := *h
	h.nonce = "process-2"
	h.attach()
	old.closed(wire.CloseSuperseded)
	id := w.submit("x", queue.Spec{}, h)
	h.accept(h.jobOf(id))
}

func testDuplicate(t *testing.T, w *world) {
	h := w.host("h").attached()
	double := *h
	double.generation, double.nonce = "another-machine", "process-9"
	double.link = w.car.Dial(t, double.peer, double.hello())
	if c := double.closed(wire.CloseDuplicate); c.Retry < time.Second {
		t.Errorf("may come back after %v", c.Retry)
	}
	h.closed(wire.CloseDuplicate)
	id := w.submit("x", queue.Spec{}, h)
	w.state(id, h, queue.Queued)
	if err := w.store.ResolveDuplicate(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	h.attach()
	h.accept(h.jobOf(id))
}

func testStandby(t *testing.T, w *world) {
	h := w.host("h")
	if w.kind == queue.TransportPoll {
		hello := h.hello()
		hello.Standby = true
		h.link = w.car.Dial(t, h.peer, hello)
		h.closed(wire.CloseMalformed)
		return
	}
	h.attach()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)

	probe := *h
	hello := probe.hello()
	hello.Standby = true
	probe.link = w.car.Dial(t, probe.peer, hello)
	if wel := expect[*wire.Welcome](&probe); !wel.Standby || wel.Session != 0 {
		t.Fatalf("standby's welcome is %+v", wel)
	}
	// Exactly one delivers.
	h.link.Send(h.started(j))
	h.stored(j, 2)
	probe.nothing()

	probe.link.Send(&wire.Take{Hello: h.hello()})
	wel := expect[*wire.Welcome](&probe)
	if wel.Standby || wel.Session == 0 || len(wel.Executions) != 1 || wel.Executions[0].Stored != 2 {
		t.Fatalf("taking it over, the welcome is %+v", wel)
	}
	h.closed(wire.CloseSuperseded)
	probe.link.Send(probe.finished(j, 3, wire.Succeeded))
	probe.stored(j, 3)
	next := w.submit("x", queue.Spec{}, h)
	probe.jobOf(next)

	// Events don't come over a standby.
	third := *h
	third.link = w.car.Dial(t, third.peer, hello)
	expect[*wire.Welcome](&third)
	third.link.Send(third.started(j))
	third.closed(wire.CloseMalformed)
}

func testStoreAway(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	w.store.Away(true)
	before := w.store.Tries()
	h.link.Send(h.started(j), h.out(j, 3, "kept\n"), h.finished(j, 4, wire.Succeeded))
	w.submit("x", queue.Spec{}, h)
	if w.kind == queue.TransportPoll {
		c := h.closed(wire.CloseUnavailable)
		if c.Retry < time.Second {
			t.Errorf("may come back after %v", c.Retry)
		}
		w.store.Away(false)
		h.has(j, 4)
		h.attach()
		h.link.Send(h.started(j), h.out(j, 3, "kept\n"), h.finished(j, 4, wire.Succeeded))
	} else {
		w.until("it was tried some times", func() bool { return w.store.Tries() > before+3 })
		h.nothing()
		w.store.Away(false)
	}
	h.stored(j, 4)
	if got := w.output(id, h, queue.Both); got != "kept\n" {
		t.Errorf("got %q", got)
	}
	h.job()
}

func testDrain(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	var drained sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, hub := range w.hubs {
		drained.Go(func() { hub.Drain(ctx, 2*time.Second) })
	}
	if w.kind == queue.TransportPoll {
		if c := h.closed(wire.CloseDrain); c.Retry < time.Second || c.Retry > 4*time.Second {
			t.Errorf("may come back after %v", c.Retry)
		}
	} else {
		if d := expect[*wire.Drain](h); d.Within != 2000 {
			t.Errorf("got %+v", d)
		}
		// What is on the way is finished first.
		h.link.Send(h.started(j), h.finished(j, 3, wire.Succeeded))
		h.stored(j, 3)
		h.link.Cut()
	}
	drained.Wait()
	if ctx.Err() != nil {
		t.Error("the drain did not end by itself")
	}
	h.link = w.car.Dial(t, h.peer, h.hello())
	_, err := h.recv()
	if err == nil {
		t.Error("a gateway that is going takes a new session")
	}
}

func testKick(t *testing.T, w *world) {
	if w.kind == queue.TransportPoll {
		return // there is no connection to close; see Revoke
	}
	h := w.host("h").attached()
	for _, hub := range w.hubs {
		hub.Kick("h", wire.CloseOverload, wire.CloseReason(7*time.Second, "go away"))
		hub.Kick("nobody", wire.CloseOverload, "go away")
	}
	if c := h.closed(wire.CloseOverload); c.Retry != 7*time.Second || c.Reason != "go away" {
		t.Errorf("got %+v", c)
	}
}

func testRevoke(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	h.accept(h.jobOf(id))
	if err := w.store.Revoke(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	_, err := h.recv()
	for err == nil {
		_, err = h.recv()
	}
	h.link = w.car.Dial(t, h.peer, h.hello())
	h.closed(wire.CloseRevoked)
}

func testExpires(t *testing.T, w *world) {
	if w.kind == queue.TransportPoll {
		return // each request has its token
	}
	h := w.host("h")
	h.peer.Expires = time.Now().Add(time.Second)
	h.attach()
	h.closed(wire.CloseExpired)
}
