package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestManyGoBack: a store that loses what it had of forty settled executions is told all of them again.
func TestManyGoBack(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		before := map[string]queue.Held{}
		g.connect()
		for range 40 {
			id := g.submit("out:a sleep:1000 out:b exit:3")
			g.deliver()
			synctest.Wait()
			g.set(func() { before[id] = g.jobs[id].Held })
			time.Sleep(2 * time.Second)
			synctest.Wait()
			g.is(id, queue.Failed, "ab")
		}
		g.cut()
		g.set(func() {
			for id, held := range before {
				if held.State != queue.Running || held.Position == 0 {
					t.Errorf("%+v", held.Execution)
				}
				g.jobs[id].Held = held
				g.jobs[id].stdout.Reset()
				g.jobs[id].stdout.WriteString("a")
			}
		})
		g.connect()
		synctest.Wait()
		for id := range before {
			g.is(id, queue.Failed, "ab")
			g.started(id, 1)
			g.set(func() {
				if g.jobs[id].gaps != 0 || g.jobs[id].Result.ExitCode != 3 {
					t.Errorf("%d gaps, %+v", g.jobs[id].gaps, g.jobs[id].Result)
				}
			})
		}
	})
}

// TestNotStartedGoesBack: what was cancelled before its start is told again to a store that lost its end, by the next agent too.
func TestNotStartedGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.loseNext = "answer"
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.cut()
		before := g.jobs[id].Held
		g.cancel(id)
		g.connect()
		synctest.Wait()
		g.is(id, queue.Cancelled, "")
		g.restart()
		g.set(func() { g.jobs[id].Held = before })
		if before.State != queue.Accepted {
			t.Fatal(before.State)
		}
		g.connect()
		synctest.Wait()
		g.is(id, queue.Cancelled, "")
		g.started(id, 0)
	})
}

// TestHelloIsBounded: it fits a frame, names what runs first, and proves nothing about what it doesn't name.
func TestHelloIsBounded(t *testing.T) {
	const many = wire.MaxInHand + 100
	id := func(n int) string { return fmt.Sprintf("%026d.%s", n, strings.Repeat("h", 128)) }
	for _, c := range []struct{ token, inHand, least int }{
		{26, 3, wire.MaxInHand}, {wire.MaxWord, 3, wire.MaxInHand / 2}, {26, many, wire.MaxInHand},
	} {
		a, err := New(Config{Runner: newMemRunner(), Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		entry := func(n int) Entry {
			e := Entry{Execution: id(n), Token: strings.Repeat("t", c.token), Lane: "default", StartedAt: 1, Ended: &Ended{Seq: wire.MaxNumber}}
			if err := a.journal.put(&e, false); err != nil {
				t.Fatal(err)
			}
			return e
		}
		for n := range many {
			a.keep(entry(n).Execution, 0, time.Now().Add(time.Hour))
		}
		for n := range c.inHand {
			a.revive(entry(many+n), 0)
		}
		e := newExecution(id(0), strings.Repeat("t", c.token), "urgent")
		e.entry.Position, e.phase = 1, running
		a.mu.Lock()
		a.addLocked(e)
		a.mu.Unlock()

		h := a.Hello()
		frame, err := wire.Encode(&h)
		if err == nil {
			_, err = wire.Decode(frame)
		}
		if err != nil || len(h.Executions) < c.least || h.Executions[0].Execution != e.id || h.Executions[1].Execution != id(many) {
			t.Errorf("%+v: %d are named, %v", c, len(h.Executions), err)
		}
		want := a.journal.position()
		if c.inHand == many { // the first that isn't named was journalled after this
			want = many + wire.MaxInHand - 1
		} else if newest := h.Executions[1+c.inHand].Execution; newest != id(many-1) {
			t.Errorf("%+v: not the newest of what is kept, but %s", c, newest)
		}
		if h.Position != want {
			t.Errorf("%+v: position %d, not %d", c, h.Position, want)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
