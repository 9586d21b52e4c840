package sessiontest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What becomes of a host's events.

func testAcceptedTwice(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	m := h.accepted(j)
	for range 3 {
		h.link.Send(m)
		h.ack(j, 1, wire.VerdictGo)
	}
	w.cancel(id)
	for { // the cancel, and then the same as verdict
		m, err := h.recv()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.(*wire.Cancel); ok {
			break
		}
	}
	h.link.Send(m)
	h.ack(j, 1, wire.VerdictCancel)
}

func testRepeated(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	events := []wire.Message{h.started(j), h.out(j, 3, "one\n"), h.out(j, 4, "two\n")}
	for range 3 {
		h.link.Send(events...)
		h.stored(j, 4)
	}
	h.link.Send(events[1], events[2], h.out(j, 5, "three\n"))
	h.stored(j, 5)
	if got := w.output(id, h, queue.Both); got != "one\ntwo\nthree\n" {
		t.Errorf("got %q", got)
	}
}

func testRewind(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	h.link.Send(h.out(j, 5, "five\n"))
	h.ack(j, 1, wire.VerdictNone)
	h.link.Send(h.started(j), h.out(j, 3, "three\n"), h.out(j, 4, "four\n"), h.out(j, 5, "five\n"))
	h.stored(j, 5)
	if got := w.output(id, h, queue.Both); got != "three\nfour\nfive\n" {
		t.Errorf("got %q", got)
	}
}

func testGap(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	h.link.Send(h.started(j), &wire.Gap{Execution: j.Execution, Seq: 3, Through: 7, Bytes: 1000}, h.out(j, 8, "after\n"), h.finished(j, 9, wire.Succeeded))
	h.stored(j, 9)
	if x := w.execution(id, h); x.State != queue.Succeeded || x.Output.Gap != 1000 {
		t.Errorf("got %v, %+v", x.State, x.Output)
	}
}

func testRejected(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{User: "nobody-here"}, h)
	next := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.link.Send(&wire.Rejected{Execution: j.Execution, Seq: 1, Token: j.Token, Reason: strings.Repeat("ö", wire.MaxReason)})
	h.stored(j, 1)
	x := w.execution(id, h)
	if x.State != queue.Rejected || len(x.Result.Reason) != wire.MaxReason || !strings.HasSuffix(x.Result.Reason, "ö") {
		t.Errorf("got %v, reason of %d bytes", x.State, len(x.Result.Reason))
	}
	h.jobOf(next) // the slot is free again
}

func testResume(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	h.link.Send(h.started(j), h.out(j, 3, "before\n"))
	h.stored(j, 3)
	h.link.Cut()
	h.has(j, 5) // made while it was cut
	wel := h.attach()
	if len(wel.Executions) != 1 {
		t.Fatalf("got %+v", wel)
	}
	r := wel.Executions[0]
	if r.Execution != j.Execution || r.Stored != 3 || r.Verdict == wire.VerdictForget || r.Verdict == wire.VerdictCancel {
		t.Fatalf("got %+v", r)
	}
	h.link.Send(h.out(j, 4, "during\n"), h.finished(j, 5, wire.Succeeded))
	h.stored(j, 5)
	if got := w.output(id, h, queue.Both); got != "before\nduring\n" {
		t.Errorf("got %q", got)
	}
	w.state(id, h, queue.Succeeded)
}

func testReleasedAtHello(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	first := h.jobOf(id)
	h.link.Cut()
	h.attach() // it isn't in hand: the delivery was lost
	second := h.jobOf(id)
	if second.Token == first.Token {
		t.Error("the token is the same")
	}
	h.accept(second)
}

func testForeignInHand(t *testing.T, w *world) {
	h := w.host("h")
	other := string(queue.NewExecutionID(queue.NewJobID(time.Now()), "other"))
	h.inHand[other] = wire.InHand{Execution: other, Token: "t", Seq: 4}
	wel := h.attach()
	if len(wel.Executions) != 1 || wel.Executions[0].Execution != other || wel.Executions[0].Verdict != wire.VerdictForget {
		t.Errorf("got %+v", wel)
	}
}

func testMalformed(t *testing.T, w *world) {
	for name, frame := range map[string]string{
		"html":     "<html>",
		"no type":  `{"execution":"x"}`,
		"bounds":   `{"type":"output","execution":"0","seq":0}`,
		"too big":  `{"type":"later","x":"` + strings.Repeat("x", wire.MaxFrame) + `"}`,
		"not ours": `{"type":"welcome"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := w.host(queue.HostID(strings.ReplaceAll(name, " ", "-"))).attached()
			h.t = t
			id := w.submit("x", queue.Spec{}, h)
			h.jobOf(id)
			h.link.SendRaw([]byte(frame))
			h.closed(wire.CloseMalformed)
			if x := w.execution(id, h); x.Stored != 0 {
				t.Errorf("%d events stored", x.Stored)
			}
		})
	}
}

func testOtherHost(t *testing.T, w *world) {
	victim := w.host("victim").attached()
	id := w.submit("x", queue.Spec{}, victim)
	j := victim.jobOf(id)
	victim.accept(j)
	thief := w.host("thief").attached()
	own := w.submit("x", queue.Spec{}, thief)
	k := thief.jobOf(own)
	thief.link.Send(thief.accepted(k), thief.started(j))
	thief.closed(wire.CloseForbidden)
	if x := w.execution(id, victim); x.Stored != 1 {
		t.Errorf("%d events of the other host are stored", x.Stored)
	}
	if x := w.execution(own, thief); x.Stored != 0 {
		t.Errorf("%d events of the batch are stored", x.Stored)
	}
	victim.finish(j)
}

func testOtherHostsScript(t *testing.T, w *world) {
	victim, thief := w.host("victim").attached(), w.host("thief").attached()
	id := w.submit(strings.Repeat("secret\n", 10000), queue.Spec{}, victim)
	j := victim.jobOf(id)
	for _, path := range []string{
		j.Spec.ScriptURL,
		wire.PathScript + string(queue.NewExecutionID(id, "thief")),
		wire.PathScript,
		wire.PathScript + "nonsense",
	} {
		status, body := w.car.Get(t, thief.peer, path)
		if status != http.StatusNotFound && status != http.StatusBadRequest || strings.Contains(string(body), "secret\n") {
			t.Errorf("%s: status %d, %.100s", path, status, body)
		}
	}
	if status, _ := w.car.Get(t, victim.peer, j.Spec.ScriptURL); status != http.StatusOK {
		t.Errorf("the host itself: status %d", status)
	}
}

func testOldIncarnation(t *testing.T, w *world) {
	old := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, old)
	j := old.jobOf(id)
	w.host("h") // enrolled anew
	old.link.Send(old.accepted(j))
	old.closed(wire.CloseSuperseded)
	if x := w.execution(id, old); x.Stored != 0 || !x.State.Terminal() {
		t.Errorf("got %v, %d stored", x.State, x.Stored)
	}
}

func testBeyondCredit(t *testing.T, w *world) {
	h := w.host("h")
	wel := h.attach()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	if w.kind == queue.TransportPoll {
		return // a request's size is its credit; see Malformed
	}
	// While the store is away nothing is acknowledged, and credit is all there is.
	w.store.Away(true)
	var size int64
	h.link.Send(h.started(j))
	for seq := int64(3); size <= wel.Credit; seq++ {
		m := h.out(j, seq, "%s", strings.Repeat("x", 500))
		size += wire.EventSize(m)
		h.link.Send(m)
	}
	h.closed(wire.CloseSlow)
}
