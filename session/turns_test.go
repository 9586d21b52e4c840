package session

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestSomeLeavesNobodyOut goes through the attached, part by part, while some go and some
// come.
func TestSomeLeavesNobodyOut(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for round := range 50 {
			there := map[*Session]bool{}
			var all []*pipe
			come := func(i int) { all = append(all, attach(t, h, queue.HostID(fmt.Sprint("h", round, "-", i)))) }
			for i := range rnd.IntN(100) {
				come(i)
				there[all[i].s] = true
			}
			var into [7]*Session
			seen := map[*Session]bool{}
			for rest := math.MaxInt; rest > 0; {
				var part []*Session
				part, rest = h.some(into[:], rest)
				for _, s := range part {
					seen[s] = true
				}
				for range rnd.IntN(5) {
					if len(all) > 0 {
						i := rnd.IntN(len(all))
						delete(there, all[i].s)
						all[i].s.Detach()
						all = append(all[:i], all[i+1:]...)
					}
				}
				if rnd.IntN(2) == 0 {
					come(1000 + rest)
				}
			}
			for s := range there {
				if !seen[s] {
					t.Fatalf("round %d: %s was left out", round, s.peer)
				}
			}
			if n := h.Stats().Sessions; n != len(all) {
				t.Fatalf("%d attached, want %d", n, len(all))
			}
			for _, p := range all {
				p.s.Detach()
			}
		}
	})
}

// TestCallsHaveTheirTime checks the contexts that store calls share.
func TestCallsHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, stop := context.WithCancel(t.Context())
		d := deadlines{calls: calls, timeout: 15 * time.Second}
		made := map[context.Context]bool{}
		for range 100 {
			ctx := d.get()
			made[ctx] = true
			if at, ok := ctx.Deadline(); !ok || time.Until(at) < 15*time.Second || time.Until(at) > 16*time.Second || ctx.Err() != nil {
				t.Fatalf("a call has %v, %v", time.Until(at), ctx.Err())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if len(made) > 11 {
			t.Errorf("%d contexts in 10 s", len(made))
		}
		first := d.get()
		time.Sleep(17 * time.Second)
		if first.Err() != context.DeadlineExceeded {
			t.Errorf("after its time: %v", first.Err())
		}
		stop()
		if d.get().Err() != context.Canceled {
			t.Error("calls go on after the stop")
		}
	})
}

// TestTurnsOfAHerd has more sessions than may call the store at once, and more than workers
// that wait; all get their turns, and no more workers stay than may.
func TestTurnsOfAHerd(t *testing.T) {
	const herd = 20 * idleWorkers
	bubble(t, Config{Turns: 5 * idleWorkers}, func(t *testing.T, m *memory, h *Hub) {
		most := make(chan struct{}, 5*idleWorkers)
		m.onClaim = func(queue.Claim) error {
			select {
			case most <- struct{}{}:
			default:
				t.Error("more turns at once than may be")
			}
			time.Sleep(time.Second)
			<-most
			return nil
		}
		var all []*pipe
		for i := range herd {
			p := attach(t, h, queue.HostID(fmt.Sprint("h", i)))
			p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
			all = append(all, p)
		}
		synctest.Wait()
		if n := h.Stats().Waiting; n != herd-5*idleWorkers {
			t.Errorf("%d wait in line", n)
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		for i, p := range all {
			if msgs := p.take(); len(msgs) != 1 {
				t.Fatalf("host %d got %v", i, msgs)
			}
		}
		if n := h.turns.idle.Load(); n != idleWorkers {
			t.Errorf("%d workers wait", n)
		}
	})
}

func TestOneTurnAtATime(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		running, most := 0, 0
		var mu sync.Mutex
		var seqs []int64
		m.onRecord = func(e queue.HostEvents) error {
			mu.Lock()
			running++
			most = max(most, running)
			for _, ev := range e.Events {
				seqs = append(seqs, ev.Seq)
			}
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		for seq := int64(2); seq < 22; seq++ {
			if !p.send(t, output("a", seq, 1)) {
				t.Fatalf("refused: %v", p.code)
			}
			h.hint("a")
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if most != 1 {
			t.Errorf("%d turns at once", most)
		}
		if !slices.IsSorted(seqs) || len(seqs) != 20 {
			t.Errorf("recorded in the order %v", seqs)
		}
		if n := m.count("record"); n > 4 {
			t.Errorf("%d records of 20 events within 20 ms", n)
		}
	})
}

// TestStuckWriters has more connections that don't read than turns.
func TestStuckWriters(t *testing.T) {
	bubble(t, Config{Turns: 2, Writes: 100}, func(t *testing.T, m *memory, h *Hub) {
		var stuck []*pipe
		for i := range 20 {
			id := queue.HostID(fmt.Sprintf("stuck-%d", i))
			p := begun(t, h, id)
			p.block = make(chan struct{})
			stuck = append(stuck, p)
			m.give(id)
			h.hint(id)
		}
		synctest.Wait()
		p := begun(t, h, "good")
		m.give("good")
		h.hint("good")
		synctest.Wait()
		if msgs := p.take(); len(msgs) != 1 {
			t.Fatalf("got %v", msgs)
		}
		for _, p := range stuck {
			close(p.block)
		}
		synctest.Wait()
		for _, p := range stuck {
			if msgs := p.take(); len(msgs) != 1 {
				t.Errorf("got %v when it reads", msgs)
			}
		}
	})
}

func TestTurnsAreBounded(t *testing.T) {
	bubble(t, Config{Turns: 3}, func(t *testing.T, m *memory, h *Hub) {
		running, most := 0, 0
		var mu sync.Mutex
		m.onClaim = func(queue.Claim) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}
		var all []*pipe
		for i := range 50 {
			p := attach(t, h, queue.HostID(fmt.Sprint("h", i)))
			p.send(t, &wire.Hello{Generation: "g", Nonce: "n"})
			all = append(all, p)
		}
		if w := h.Stats().Waiting; w != 47 {
			t.Errorf("%d wait in line", w)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, p := range all {
			if len(p.take()) == 0 {
				t.Error("a host wasn't welcomed")
			}
		}
		if most != 3 {
			t.Errorf("%d turns at once", most)
		}
	})
}
