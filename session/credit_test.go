package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// credits gives the last credit among messages, 0 if there is none.
func credits(msgs []wire.Message) (last int64) {
	for _, m := range msgs {
		if c, ok := m.(*wire.Credit); ok {
			last = c.Bytes
		}
	}
	return last
}

func TestCreditRisesAndIsGivenBack(t *testing.T) {
	const pool = 300 << 10
	bubble(t, Config{CreditPool: pool}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		seq := int64(2)
		fill := func(bytes int64) {
			for bytes > 1000 { // in frames that use much of the credit each
				var frame []wire.Message
				for ; bytes > 1000 && len(frame) < 130; bytes -= 1000 {
					frame = append(frame, output("a", seq, 1000-128))
					seq++
				}
				p.send(t, frame...)
			}
			synctest.Wait()
		}
		fill(wire.IdleCredit)
		if c := credits(p.take()); c != 16<<10 {
			t.Fatalf("raised to %d", c)
		}
		fill(16 << 10)
		fill(64 << 10)
		if c := credits(p.take()); c != 256<<10 {
			t.Fatalf("raised to %d", c)
		}
		if free := h.Stats().CreditFree; free != pool-(252<<10) {
			t.Errorf("%d free", free)
		}
		fill(256 << 10)
		if c := credits(p.take()); c != 0 {
			t.Errorf("raised to %d, beyond the most", c)
		}
		// Another finds what is left in the pool.
		q := begun(t, h, "b")
		for s := int64(2); s < 7; s++ {
			q.send(t, output("b", s, 1000))
			synctest.Wait()
		}
		synctest.Wait()
		if c := credits(q.take()); c != 16<<10 {
			t.Errorf("the other is raised to %d", c)
		}

		keepAlive := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				p.s.Seen()
				q.s.Seen()
			}
			synctest.Wait()
		}
		keepAlive(20 * time.Second)
		if c := credits(p.take()); c != wire.IdleCredit {
			t.Fatalf("idle, it is told %d", c)
		}
		// What was sent before it heard is taken.
		fill(200 << 10)
		if code, _ := p.ended(); code != 0 {
			t.Fatalf("closed with %d for what its credit allowed", code)
		}
		if c := credits(p.take()); c == 0 {
			t.Error("not raised again")
		}
		keepAlive(2 * time.Minute)
		if free := h.Stats().CreditFree; free != pool {
			t.Errorf("%d free of %d", free, pool)
		}
		// From now on the low credit holds.
		stuck := make(chan struct{})
		m.onRecord = func(queue.HostEvents) error { <-stuck; return nil }
		fill(200 << 10)
		if code, _ := p.ended(); code != wire.CloseSlow {
			t.Errorf("closed with %d", code)
		}
		close(stuck)
	})
}

func TestCreditPoolIsBounded(t *testing.T) {
	bubble(t, Config{CreditPool: 30 << 10}, func(t *testing.T, m *memory, h *Hub) {
		raised := 0
		for i := range 10 {
			id := queue.HostID(fmt.Sprint("h", i))
			p := begun(t, h, id)
			for seq := int64(2); seq < 7; seq++ { // each in a turn of its own
				p.send(t, output(id, seq, 1000))
				synctest.Wait()
			}
			synctest.Wait()
			if credits(p.take()) > 0 {
				raised++
			}
			if i%3 == 2 {
				p.s.Detach() // gives back
			}
		}
		if free := h.Stats().CreditFree; free < 0 {
			t.Errorf("%d free", free)
		}
		if raised < 2 || raised > 5 {
			t.Errorf("%d were raised", raised)
		}
	})
}

func TestCacheLoadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		var mu sync.Mutex
		c := newCache(10_000, func(s string) int64 { return int64(len(s)) }, func(k int) (string, error) {
			mu.Lock()
			loads++
			mu.Unlock()
			time.Sleep(time.Second)
			if k < 0 {
				return "", errors.New("no")
			}
			return strings.Repeat("x", k), nil
		})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if v, err := c.get(t.Context(), 5); v != "xxxxx" || err != nil {
					t.Errorf("got %q, %v", v, err)
				}
			})
			wg.Go(func() {
				if _, err := c.get(t.Context(), -1); err == nil {
					t.Error("no error")
				}
			})
		}
		wg.Wait()
		if loads != 2 {
			t.Errorf("%d loads", loads)
		}
		if c.get(t.Context(), -1); loads != 3 {
			t.Error("an error is kept")
		}
		for k := 1000; k < 1020; k++ {
			c.get(t.Context(), k)
		}
		if c.used > c.max || len(c.entries) != c.order.Len() || len(c.entries) != 10_000/(1020+entryOverhead) && len(c.entries) != 10_000/(1000+entryOverhead) {
			t.Errorf("%d bytes in %d entries", c.used, len(c.entries))
		}
		before := loads
		if c.get(t.Context(), 1019); loads != before {
			t.Error("the newest isn't kept")
		}
		if c.get(t.Context(), 5); loads != before+1 {
			t.Error("the oldest is kept")
		}
		c.get(t.Context(), 20_000) // larger than all
		if c.used != 0 || len(c.entries) != 0 {
			t.Errorf("%d bytes in %d entries", c.used, len(c.entries))
		}
	})
}

func TestGenerations(t *testing.T) {
	var g generations
	if _, ok := g.get("a", 0); ok {
		t.Error("knows what it was never told")
	}
	for i := range maxGenerations + 100 {
		g.put(queue.HostID(fmt.Sprint(i)), 7, "g", 0)
	}
	if len(g.byHost) != maxGenerations {
		t.Errorf("%d kept", len(g.byHost))
	}
	g.put("a", 8, "new", 0)
	if _, ok := g.get("a", 7); ok {
		t.Error("knows an older session")
	}
	if name, ok := g.get("a", 8); !ok || name != "new" {
		t.Errorf("got %q, %v", name, ok)
	}
}

// TestPolling goes through the calls of a poll, on two gateways.
func TestPolling(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		other := NewHub(m, Config{Gateway: "other"})
		peer := Peer{Host: "a", Incarnation: 1}
		ctx := t.Context()
		socket := begun(t, h, "a")
		msgs, err := h.Hello(ctx, peer, &wire.Hello{Generation: "g", Nonce: "n"}, time.Minute)
		if err != nil || len(msgs) != 1 {
			t.Fatal(msgs, err)
		}
		sid := msgs[0].(*wire.Welcome).Session
		synctest.Wait()
		if code, _ := socket.ended(); code != wire.CloseSuperseded {
			t.Errorf("the socket is closed with %d", code)
		}
		m.give("a")
		for _, hub := range []*Hub{h, other, h} {
			f, err := hub.Fetch(ctx, peer, sid, 0, time.Minute)
			if err != nil || len(f.Messages) != 1 || f.Messages[0].(*wire.Job).N != 1 {
				t.Fatalf("got %+v, %v", f, err)
			}
		}
		w := h.Watch("a")
		defer w.Close()
		for i, hub := range []*Hub{h, other, other} {
			fin := &wire.Finished{Execution: exec("a"), Seq: int64(i + 1), Outcome: wire.Succeeded}
			acks, err := hub.Record(ctx, peer, sid, []wire.Event{fin})
			if err != nil || len(acks) != 1 || acks[0].(*wire.Ack).Stored != int64(i+1) {
				t.Fatalf("got %+v, %v", acks, err)
			}
		}
		if len(w.C) == 0 {
			t.Error("a slot became free, and the held poll was not woken")
		}
		if n := m.count("host"); n != 1 {
			t.Errorf("the store was asked %d times for the generation, want once by the other gateway", n)
		}
		for _, hub := range []*Hub{h, other} {
			if _, err := hub.Record(ctx, peer, sid+1, []wire.Event{output("a", 1, 1)}); queue.CodeOf(err) != queue.Superseded {
				t.Errorf("an unknown session: %v", err)
			}
			if _, err := hub.Record(ctx, peer, sid, []wire.Event{output("b", 1, 1)}); queue.CodeOf(err) != queue.Forbidden {
				t.Errorf("another host's event: %v", err)
			}
		}
	})
}

func TestWelcomeThatDoesNotFit(t *testing.T) {
	h := NewHub(newMemory(), Config{})
	var c queue.Claimed
	c.Session = 1
	long := queue.HostID(strings.Repeat("h", 128))
	for range wire.MaxInHand {
		c.Verdicts = append(c.Verdicts, queue.Ack{Execution: queue.NewExecutionID(queue.NewJobID(time.Now()), long),
			Stored: wire.MaxNumber, Verdict: queue.VerdictForget, Reason: queue.ReasonOtherGeneration})
	}
	// All that a hello can name is in the welcome itself: a poll's answer is one frame.
	if msgs := h.welcome(c, nil, 1); len(msgs) != 1 {
		t.Errorf("%d messages, want one", len(msgs))
	} else if frame, err := wire.Encode(msgs...); err != nil || len(frame) > wire.MaxFrame {
		t.Errorf("a welcome of %d bytes, %v", len(frame), err)
	}
	c.Verdicts = append(c.Verdicts, c.Verdicts...) // and as many that it didn't name
	msgs := h.welcome(c, nil, 1)
	frames, err := wire.Pack(frameTarget, msgs...)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range frames {
		if len(f) > wire.MaxFrame {
			t.Errorf("frame of %d bytes", len(f))
		}
		ms, err := wire.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			switch m := m.(type) {
			case *wire.Welcome:
				n += len(m.Executions)
			case *wire.Ack:
				n++
			}
		}
	}
	if n != len(c.Verdicts) {
		t.Errorf("%d verdicts of %d", n, len(c.Verdicts))
	}
}
