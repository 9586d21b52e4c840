package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestLongOutage has a store that is away for hours, while some hosts stay with what they
// wrote, and others come, wait for their welcome, give up, and come again.
func TestLongOutage(t *testing.T) {
	const stay, come = 100, 20
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		var away atomic.Bool
		fail := func() error {
			if away.Load() {
				return queue.Errorf(queue.Unavailable, "away")
			}
			return nil
		}
		m.onRecord = func(queue.HostEvents) error { return fail() }
		m.onClaim = func(queue.Claim) error { return fail() }
		m.onRelease = func(queue.HostID) error { return fail() }
		var there []*pipe
		for i := range stay {
			there = append(there, begun(t, h, queue.HostID(fmt.Sprint("stays", i))))
		}
		goes := begun(t, h, "goes")
		away.Store(true)
		for i, p := range there {
			id := queue.HostID(fmt.Sprint("stays", i))
			p.send(t, &wire.Accepted{Execution: exec(id), Seq: 1, Token: "t"}, output(id, 2, 10))
		}
		goes.send(t, output("goes", 2, 10))
		synctest.Wait()
		goes.s.Detach()

		most := 0
		for begin := time.Now(); time.Since(begin) < 2*time.Hour; {
			var waiting []*pipe
			for i := range come {
				p := attach(t, h, queue.HostID(fmt.Sprint("comes", i)))
				p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
				waiting = append(waiting, p)
			}
			time.Sleep(20 * time.Second)
			synctest.Wait()
			st := h.Stats()
			most = max(most, st.Parked+st.Waiting)
			for _, p := range waiting {
				p.s.Detach()
			}
			for _, p := range there {
				p.s.Seen()
			}
			time.Sleep(time.Second)
		}
		if most > stay+come+1 {
			t.Errorf("%d sessions were held, with %d hosts", most, stay+come+1)
		}

		away.Store(false)
		last := begunLater(t, h, "comes0")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i, p := range there {
			if acks := p.take(); len(acks) != 1 || acks[0].(*wire.Ack).Stored != 2 {
				t.Errorf("host %d has %v, want the ack of what it wrote before", i, acks)
			}
		}
		m.mu.Lock()
		if len(m.released) != 1 || m.released[0] != "goes" {
			t.Errorf("released %v, want the one that had been welcomed", m.released)
		}
		m.mu.Unlock()
		if code, _ := last.ended(); code != 0 {
			t.Errorf("who came after the outage is closed with %d", code)
		}
		if st := h.Stats(); st.Parked != 0 || h.held != stay+1 {
			t.Errorf("%d wait and %d are held after the outage", st.Parked, h.held)
		}
	})
}

// begunLater is begun where the welcome takes a while.
func begunLater(t *testing.T, h *Hub, id queue.HostID) *pipe {
	t.Helper()
	p := attach(t, h, id)
	p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
	time.Sleep(20 * time.Second)
	synctest.Wait()
	if msgs := p.take(); len(msgs) != 1 || msgs[0].Type() != wire.TypeWelcome {
		t.Fatalf("got %v, want a welcome", msgs)
	}
	return p
}

// TestLeavesWhileTried has a host go while the store is being asked for its session.
func TestLeavesWhileTried(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		asked := make(chan struct{})
		m.onClaim = func(queue.Claim) error {
			<-asked
			return queue.Errorf(queue.Unavailable, "away")
		}
		p := attach(t, h, "a")
		p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
		synctest.Wait()
		p.s.Detach()
		close(asked)
		synctest.Wait()
		if st := h.Stats(); st.Parked != 0 || h.held != 0 {
			t.Errorf("%d wait, %d are held", st.Parked, h.held)
		}
	})
}

// TestGoneAreCounted has hosts whose sessions end while the store takes hellos, and no releases.
func TestGoneAreCounted(t *testing.T) {
	bubble(t, Config{MaxSessions: 3}, func(t *testing.T, m *memory, h *Hub) {
		var away atomic.Bool
		away.Store(true)
		m.onRelease = func(queue.HostID) error {
			if away.Load() {
				return queue.Errorf(queue.Unavailable, "away")
			}
			return nil
		}
		n := 0
		for ; n < 100; n++ {
			s, err := h.Attach(Peer{Host: queue.HostID(fmt.Sprint("h", n)), Incarnation: 1}, &pipe{})
			if errors.Is(err, ErrFull) {
				break
			}
			p := &pipe{closed: make(chan struct{}), s: s}
			s.conn = p
			p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
			synctest.Wait()
			s.Detach()
			synctest.Wait()
		}
		if n != 6 {
			t.Errorf("%d sessions were taken that nobody could release, want twice MaxSessions", n)
		}
		away.Store(false)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if h.held != 0 {
			t.Errorf("%d are still held", h.held)
		}
		begun(t, h, "more")
	})
}

// TestParkedLeaveTheLine takes sessions out of the line in any order.
func TestParkedLeaveTheLine(t *testing.T) {
	var p parking
	p.some = make(chan struct{}, 1)
	var all []*Session
	for range 10 {
		s := new(Session)
		all = append(all, s)
		p.add(s)
	}
	first := p.take(3)
	if len(first) != 3 || p.remove(first[1]) {
		t.Fatalf("took %d, and one of them twice", len(first))
	}
	for _, i := range []int{3, 9, 6} {
		if !p.remove(all[i]) || p.remove(all[i]) {
			t.Errorf("session %d doesn't leave once", i)
		}
	}
	p.add(all[3])
	left := map[*Session]bool{}
	for _, s := range append(p.take(2), p.take(-1)...) {
		if left[s] {
			t.Error("a session is in line twice")
		}
		left[s] = true
	}
	for i, s := range all {
		if want := i == 3 || i == 4 || i == 5 || i == 7 || i == 8; left[s] != want {
			t.Errorf("session %d: in line %v", i, left[s])
		}
	}
}
