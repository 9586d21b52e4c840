package sessiontest

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What is delivered, when, and how often.

func testPushed(t *testing.T, w *world) {
	h := w.host("h").attached()
	h.nothing()
	id := w.submit("echo hello", queue.Spec{User: "joe", Dir: "/tmp", Env: map[string]string{"A": "<&>"}}, h)
	j := h.jobOf(id)
	s := j.Spec
	if s.Script != "echo hello" || s.User != "joe" || s.Dir != "/tmp" || s.Env["A"] != "<&>" || s.ScriptSHA256 != queue.ScriptDigest([]byte("echo hello")) {
		t.Errorf("got %+v", s)
	}
	w.state(id, h, queue.Leased)
	h.nothing()
}

func testWaiting(t *testing.T, w *world) {
	h := w.host("h")
	id := w.submit("echo hello", queue.Spec{}, h)
	w.state(id, h, queue.Queued)
	h.attach()
	h.accept(h.jobOf(id))
	w.state(id, h, queue.Accepted)
}

func testLife(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	j := h.jobOf(id)
	h.accept(j)
	h.link.Send(h.started(j))
	h.stored(j, 2)
	w.state(id, h, queue.Running)
	want := ""
	for seq := int64(3); seq < 40; seq++ {
		text := strings.Repeat("ü", int(seq)*50) + "\n"
		want += text
		h.link.Send(h.out(j, seq, "%s", text))
		h.stored(j, seq)
	}
	h.link.Send(
		&wire.Output{Execution: j.Execution, Seq: 40, Stream: wire.Stderr, Data: []byte{0xff, 0xfe, 0}},
		h.finished(j, 41, wire.Failed))
	h.stored(j, 41)
	x := w.execution(id, h)
	if x.State != queue.Failed || x.Result.ExitCode != 3 || x.Result.Outcome != queue.Failed {
		t.Errorf("got %v, %+v", x.State, x.Result)
	}
	if got := w.output(id, h, queue.Stdout); got != want {
		t.Errorf("stdout has %d bytes, want %d", len(got), len(want))
	}
	if got := w.output(id, h, queue.Stderr); got != "\xff\xfe\x00" {
		t.Errorf("stderr is %q", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acks["h"] < 40 {
		t.Errorf("Recorded saw %d acks", w.acks["h"])
	}
}

func testOneAfterAnother(t *testing.T, w *world) {
	h := w.host("h").attached()
	var ids []queue.JobID
	for range 5 {
		ids = append(ids, w.submit("x", queue.Spec{}, h))
	}
	for _, id := range ids {
		j := h.jobOf(id)
		h.accept(j)
		h.finish(j)
		w.state(id, h, queue.Succeeded)
	}
	h.nothing()
}

func testManyAtOnce(t *testing.T, w *world) {
	h := w.host("h")
	h.slots = map[string]int{"default": 20, "urgent": 1}
	script := strings.Repeat("# <>&\n", 7000) // of which five fill a frame
	ids := map[string]queue.JobID{}
	for range 20 {
		id := w.submit(script, queue.Spec{}, h)
		ids[string(queue.NewExecutionID(id, h.peer.Host))] = id
	}
	h.attach()
	var jobs []*wire.Job
	for range 20 {
		j := h.job()
		if j.Spec.Script != script {
			t.Fatalf("script of %d bytes", len(j.Spec.Script))
		}
		if _, ok := ids[j.Execution]; !ok {
			t.Fatalf("%s comes twice, or isn't ours", j.Execution)
		}
		delete(ids, j.Execution)
		jobs = append(jobs, j)
	}
	for _, j := range jobs {
		h.accept(j)
	}
}

func testLargeScript(t *testing.T, w *world) {
	h := w.host("h").attached()
	script := strings.Repeat("# a long script\n", wire.InlineScript/16+1)
	id := w.submit(script, queue.Spec{}, h)
	j := h.jobOf(id)
	if j.Spec.Script != "" || j.Spec.ScriptURL == "" || j.Spec.ScriptSize != int64(len(script)) {
		t.Fatalf("got %.300v", j.Spec)
	}
	for range 2 {
		status, body := w.car.Get(t, h.peer, j.Spec.ScriptURL)
		if status != http.StatusOK || queue.ScriptDigest(body) != j.Spec.ScriptSHA256 {
			t.Fatalf("status %d, %d bytes", status, len(body))
		}
	}
	// Once it isn't in hand any more, it can't be read.
	h.accept(j)
	h.finish(j)
	if status, body := w.car.Get(t, h.peer, j.Spec.ScriptURL); status != http.StatusNotFound {
		t.Errorf("afterwards: status %d, %.100s", status, body)
	}
}

func testBinaryScript(t *testing.T, w *world) {
	h := w.host("h").attached()
	script := "#!/bin/sh\nexec cat <<E\n\xff\x00\x01\nE\n"
	w.submit(script, queue.Spec{}, h)
	if j := h.job(); !bytes.Equal(j.Spec.ScriptBase64, []byte(script)) {
		t.Errorf("got %+v", j.Spec)
	}
}

func testUrgent(t *testing.T, w *world) {
	h := w.host("h").attached()
	slow := w.submit("x", queue.Spec{}, h)
	h.accept(h.jobOf(slow))
	w.submit("x", queue.Spec{}, h) // waits behind it
	urgent := w.submit("x", queue.Spec{Lane: queue.LaneUrgent}, h)
	j := h.jobOf(urgent)
	h.accept(j)
	h.finish(j)
}

func testLapse(t *testing.T, w *world) {
	h := w.host("h").attached()
	id := w.submit("x", queue.Spec{}, h)
	first := h.jobOf(id)
	again := make(chan *wire.Job, 1)
	go func() { again <- h.job() }()
	var second *wire.Job
	w.until("it is delivered again", func() bool {
		if _, err := w.store.Sweep(t.Context(), 100, queue.Retention{}); err != nil {
			t.Error(err)
		}
		select {
		case second = <-again:
			return true
		default:
			return false
		}
	})
	if second.Execution != first.Execution || second.Token == first.Token || second.N <= first.N {
		t.Fatalf("first %+v, then %+v", first, second)
	}
	// The token of the first delivery is void.
	h.link.Send(h.accepted(first))
	h.ack(first, 0, wire.VerdictForget)
	h.accept(second)
	if x := w.execution(id, h); x.Deliveries != 2 {
		t.Errorf("%d deliveries", x.Deliveries)
	}
}
