package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestBegunAnewAfterTheStoreWasAway has the way to the store break: whoever had something stored lately has to compare
// notes with what the store still has; the others stay.
func TestBegunAnewAfterTheStoreWasAway(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		idle := begun(t, h, "idle")
		polls := Peer{Host: "polls", Incarnation: 1}
		hello := &wire.Hello{Generation: "g", Nonce: "n"}
		for _, id := range []queue.HostID{"polls", "old"} {
			if _, err := h.Hello(t.Context(), Peer{Host: id, Incarnation: 1}, hello, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for range 7 {
			time.Sleep(10 * time.Second)
			idle.s.Seen()
		}
		busy, given := begun(t, h, "busy"), begun(t, h, "given")
		for range 7 {
			time.Sleep(10 * time.Second)
			for _, p := range []*pipe{idle, busy, given} {
				p.s.Seen()
			}
		}
		busy.send(t, &wire.Accepted{Execution: exec("busy"), Seq: 1, Token: "t"})
		m.give("given")
		m.hint(queue.Hint{Hosts: []queue.HostID{"given"}})
		if _, err := h.Record(t.Context(), polls, 1, []wire.Event{&wire.Accepted{Execution: exec("polls"), Seq: 1, Token: "t"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.hint(queue.Hint{}) // too many hints
		synctest.Wait()
		if code, _ := busy.ended(); code != 0 {
			t.Errorf("closed with %d though the store was there all the time", code)
		}
		m.hint(queue.Hint{Again: true})
		synctest.Wait()
		for name, p := range map[string]*pipe{"busy": busy, "given": given} {
			if code, _ := p.ended(); code != wire.CloseHello {
				t.Errorf("%s: closed with %d, not told to say hello", name, code)
			}
		}
		if code, _ := idle.ended(); code != 0 {
			t.Errorf("an idle session was closed with %d", code)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		ended := map[queue.HostID]bool{}
		for _, id := range m.released {
			ended[id] = true
		}
		if !ended["polls"] || ended["old"] {
			t.Errorf("released: %v; of the two that poll, only the one with events is to be begun anew", m.released)
		}
	})
}
