package session

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func TestStoreAway(t *testing.T) {
	away := errors.New("no route to store")
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		var mu sync.Mutex
		down := true
		m.onRecord = func(queue.HostEvents) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return queue.Errorf(queue.Unavailable, "%w", away)
			}
			return nil
		}
		var all []*pipe
		for i := range 500 {
			id := queue.HostID(fmt.Sprint("h", i))
			p := begun(t, h, id)
			p.send(t, output(id, 1+1, 10))
			all = append(all, p)
		}
		synctest.Wait()
		if st := h.Stats(); st.Parked != 500 {
			t.Errorf("%d parked", st.Parked)
		}
		before := m.count("record")
		for range 6 {
			time.Sleep(10 * time.Second)
			for _, p := range all {
				p.s.Seen()
			}
		}
		if n := m.count("record") - before; n < 5 || n > 60 {
			t.Errorf("tried %d times in a minute", n)
		}
		// More events wait with the others, up to the credit.
		all[0].send(t, output("h0", 3, 10))
		mu.Lock()
		down = false
		mu.Unlock()
		time.Sleep(8 * time.Second)
		synctest.Wait()
		for i, p := range all {
			acks := p.take()
			if len(acks) == 0 {
				t.Fatalf("host %d has no ack", i)
			}
			for _, a := range acks {
				if _, ok := a.(*wire.Ack); !ok {
					t.Fatalf("got %v", a)
				}
			}
		}
		if st := h.Stats(); st.Parked != 0 {
			t.Errorf("%d still parked", st.Parked)
		}
	})
}

// TestPartAway has a store of which one host's part is away.
func TestPartAway(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		m.onRecord = func(e queue.HostEvents) error {
			if e.Host == "bad" {
				return queue.Errorf(queue.Unavailable, "this part is away")
			}
			return nil
		}
		bad, good := begun(t, h, "bad"), begun(t, h, "good")
		bad.send(t, output("bad", 2, 1))
		synctest.Wait()
		for seq := int64(2); seq < 100; seq++ {
			good.send(t, output("good", seq, 1))
			synctest.Wait()
			if len(good.take()) == 0 {
				t.Fatal("the good host waits too")
			}
		}
		if code, _ := bad.ended(); code != 0 {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestReleaseIsRetried(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		fails := 4
		m.onRelease = func(queue.HostID) error {
			if fails--; fails >= 0 {
				return queue.Errorf(queue.Unavailable, "away")
			}
			return nil
		}
		p.s.Detach()
		p.s.Detach()
		time.Sleep(time.Minute)
		m.mu.Lock()
		defer m.mu.Unlock()
		if !slices.Equal(m.released, []queue.HostID{"a"}) || m.calls["release"] != 5 {
			t.Errorf("released %v in %d calls", m.released, m.calls["release"])
		}
	})
}

func TestLateEventsAreRecorded(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		p.send(t, output("a", 2, 1))
		p.s.Detach() // before the turn
		synctest.Wait()
		if n := m.count("record"); n != 1 {
			t.Errorf("%d records", n)
		}
		if n := m.count("release"); n != 1 {
			t.Errorf("%d releases", n)
		}
	})
}

// TestFrameWhileClosing has a host that still sends when its session is closed
// for another reason than a newer session: it is released all the same.
func TestFrameWhileClosing(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		p.s.End(wire.CloseExpired, "the token expired")
		if p.send(t, output("a", 2, 1)) {
			t.Error("a closing session takes a frame")
		}
		synctest.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		if !slices.Equal(m.released, []queue.HostID{"a"}) || m.calls["record"] != 0 {
			t.Errorf("released %v, %d records", m.released, m.calls["record"])
		}
	})
}

func TestStop(t *testing.T) {
	var p *pipe
	var w *Watch
	var m *memory
	bubble(t, Config{}, func(t *testing.T, store *memory, h *Hub) {
		m = store
		p = begun(t, h, "a")
		parked := begun(t, h, "b")
		m.onRecord = func(queue.HostEvents) error { return queue.Errorf(queue.Unavailable, "away") }
		parked.send(t, output("b", 2, 1))
		w = h.Watch("c")
		synctest.Wait()
	})
	if code, _ := p.ended(); code != wire.CloseDrain {
		t.Errorf("closed with %d", code)
	}
	if len(m.released) != 2 {
		t.Errorf("released %v", m.released)
	}
	if len(w.C) != 1 {
		t.Error("the held poll was not woken")
	}
}
