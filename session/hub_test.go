package session

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHintPushes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		m.give("a")
		m.hint(queue.Hint{Hosts: []queue.HostID{"nobody", "a"}})
		synctest.Wait()
		msgs := p.take()
		if len(msgs) != 1 || msgs[0].(*wire.Job).N != 1 {
			t.Fatalf("got %v", msgs)
		}
		// Another hint finds nothing new.
		m.hint(queue.Hint{Hosts: []queue.HostID{"a"}})
		synctest.Wait()
		if msgs := p.take(); len(msgs) != 0 {
			t.Errorf("got %v again", msgs)
		}
	})
}

func TestLostHint(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		m.give("a")
		m.mu.Lock()
		m.ready = []queue.HostID{"a"}
		m.mu.Unlock()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if msgs := p.take(); len(msgs) != 1 {
			t.Errorf("got %v within 30 s", msgs)
		}
	})
}

// TestLostHintOfAnotherOwner has a session that was superseded elsewhere and
// didn't hear of it.
func TestLostHintOfAnotherOwner(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		m.mu.Lock()
		m.epochs["a"]++
		m.mu.Unlock()
		begin := time.Now()
		for time.Since(begin) < 5*time.Minute+10*time.Second {
			time.Sleep(10 * time.Second)
			p.s.Seen()
		}
		if code, _ := p.ended(); code != wire.CloseSuperseded {
			t.Errorf("after 5 min, closed with %d", code)
		}
		if n := m.count("lease"); n != 2 {
			t.Errorf("%d leases", n)
		}
	})
}

func TestEndsLookForWork(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		for i, c := range []struct {
			m    wire.Message
			more int
		}{
			{&wire.Accepted{Execution: exec("a"), Seq: 1, Token: "t"}, 0},
			{output("a", 2, 1), 0},
			{&wire.Finished{Execution: exec("a"), Seq: 3, Outcome: wire.Succeeded}, 1},
			{&wire.Rejected{Execution: exec("a"), Seq: 1, Token: "t"}, 1},
		} {
			before := m.count("lease")
			p.send(t, c.m)
			synctest.Wait()
			if n := m.count("lease") - before; n != c.more {
				t.Errorf("%d: %d leases, want %d", i, n, c.more)
			}
		}
	})
}

func TestResubscribes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {})
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		fails := 3
		m.onSubscribe = func() error {
			if fails--; fails >= 0 {
				return queue.Errorf(queue.Unavailable, "away")
			}
			return nil
		}
		h := NewHub(m, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(5 * time.Second)
		if n := m.count("subscribe"); n != 4 {
			t.Errorf("subscribed %d times", n)
		}
		if n := m.count("ready"); n == 0 {
			t.Error("the ready set wasn't read after the subscription")
		}
		cancel()
		<-done
	})
}

// TestReaderNeverWaits has a store that doesn't answer and a connection that
// doesn't read.
func TestReaderNeverWaits(t *testing.T) {
	bubble(t, Config{StoreTimeout: time.Hour}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		stuck := make(chan struct{})
		m.onRecord = func(queue.HostEvents) error { <-stuck; return nil }
		begin := time.Now()
		n := 0
		for seq := int64(2); p.send(t, output("a", seq, 100)); seq++ {
			n++
		}
		if time.Since(begin) != 0 {
			t.Error("Receive waited")
		}
		synctest.Wait()
		if code, _ := p.ended(); code != wire.CloseSlow {
			t.Errorf("closed with %d", code)
		}
		if size := int64(n) * 228; size > wire.IdleCredit || size < wire.IdleCredit-228 {
			t.Errorf("%d bytes were taken on a credit of %d", size, wire.IdleCredit)
		}
		close(stuck)
	})
}

// A host that has no ack for long sends again what is on the way, while the gateway still holds it for a store that is away.
func TestCopiesUseNoCredit(t *testing.T) {
	bubble(t, Config{StoreTimeout: time.Hour}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		stuck := make(chan struct{})
		m.onRecord = func(queue.HostEvents) error { <-stuck; return nil }
		last := int64(wire.IdleCredit / 228)
		for range 3 {
			for seq := int64(2); seq < 2+last; seq++ {
				if !p.send(t, output("a", seq, 100)) {
					t.Fatalf("closed at a copy of event %d", seq)
				}
			}
			synctest.Wait()
		}
		close(stuck)
		synctest.Wait()
		if code, _ := p.ended(); code != 0 {
			t.Errorf("closed with %d", code)
		}
		if p.s.onWay != 0 || p.s.tops != nil {
			t.Errorf("%d bytes of %d executions are on the way", p.s.onWay, len(p.s.tops))
		}
		if !p.send(t, output("a", 2+last, 100)) {
			t.Error("the next event is refused")
		}
	})
}

func TestOneLargeEventFits(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		if !p.send(t, output("a", 2, wire.MaxChunk)) {
			t.Error("one event beyond the credit is refused")
		}
	})
}

func TestSilence(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		quiet, alive, mute := begun(t, h, "quiet"), begun(t, h, "alive"), attach(t, h, "mute")
		for range 9 {
			time.Sleep(10 * time.Second)
			alive.s.Seen()
			mute.s.Seen()
		}
		if code, _ := quiet.ended(); code != wire.CloseSilent {
			t.Errorf("the silent one is closed with %d", code)
		}
		if code, reason := mute.ended(); code != wire.CloseSilent || !strings.Contains(reason, "hello") {
			t.Errorf("the one without hello is closed with %d, %q", code, reason)
		}
		if code, _ := alive.ended(); code != 0 {
			t.Errorf("the other is closed with %d", code)
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	bubble(t, Config{MaxSessions: 6}, func(t *testing.T, m *memory, h *Hub) {
		owner := begun(t, h, "a")
		var more []*pipe
		for range 4 {
			p := attach(t, h, "a")
			p.send(t, &wire.Hello{Generation: "g", Nonce: "n", Standby: true})
			more = append(more, p)
		}
		synctest.Wait()
		if code, _ := owner.ended(); code != 0 {
			t.Errorf("the one that delivers is closed with %d", code)
		}
		if code, _ := more[0].ended(); code != wire.CloseSuperseded {
			t.Errorf("the oldest other one is closed with %d", code)
		}
		attach(t, h, "b")
		attach(t, h, "c")
		if _, err := h.Attach(Peer{Host: "d"}, &pipe{}); !errors.Is(err, ErrFull) {
			t.Errorf("beyond MaxSessions: %v", err)
		}
	})
}

func TestStaleClaimDoesNotOwn(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		newer := begun(t, h, "a")
		m.mu.Lock()
		m.epochs["a"] = 10
		m.mu.Unlock()
		newest := begun(t, h, "a") // 11
		if code, _ := newer.ended(); code != wire.CloseSuperseded {
			t.Errorf("the older is closed with %d", code)
		}
		m.mu.Lock()
		m.epochs["a"] = 4
		m.mu.Unlock()
		late := attach(t, h, "a") // its claim was before, its answer came after
		late.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
		synctest.Wait()
		if code, _ := late.ended(); code != wire.CloseSuperseded {
			t.Errorf("the late one is closed with %d", code)
		}
		if code, _ := newest.ended(); code != 0 {
			t.Errorf("the newest is closed with %d", code)
		}
	})
}

func TestWatchIsReplaced(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		first, second := h.Watch("a"), h.Watch("a")
		<-first.C
		if !first.Replaced() || second.Replaced() {
			t.Error("the newer doesn't replace the older")
		}
		first.Close()
		h.hint("a")
		<-second.C
		if n := h.Stats().Polls; n != 1 {
			t.Errorf("%d polls", n)
		}
		second.Close()
		second.Close()
		if n := h.Stats().Polls; n != 0 || len(h.hosts) != 0 {
			t.Errorf("%d polls, %d hosts", n, len(h.hosts))
		}
	})
}
