package agent

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestStoreWentBack: what was stored, settled even, is sent again when the store
// has lost it; the script isn't started again.
func TestStoreWentBack(t *testing.T) {
	for _, to := range []string{"queued", "accepted", "output"} {
		for _, when := range []string{"running", "settled"} {
			for _, restart := range []bool{false, true} {
				bubble(t, func(t *testing.T, g *gate) {
					id := g.submit("out:a out:b sleep:1000 out:c sleep:1000 out:d")
					before := g.jobs[id].Held
					g.connect()
					synctest.Wait()
					if when == "settled" {
						time.Sleep(3 * time.Second)
						synctest.Wait()
						g.is(id, queue.Succeeded, "abcd")
					}
					g.cut()
					g.set(func() {
						j := g.jobs[id]
						token, pos := j.Token, j.Position
						j.Held = before
						j.stdout.Reset()
						if to != "queued" {
							j.State, j.Token, j.Position, j.Stored, j.Generation = queue.Accepted, token, pos, 1, g.agent.journal.gen
						}
						if to == "output" {
							j.State, j.Stored = queue.Running, 3
							j.stdout.WriteString("a")
						}
					})
					if restart {
						g.restart()
					}
					g.connect()
					time.Sleep(5 * time.Second)
					synctest.Wait()
					g.is(id, queue.Succeeded, "abcd")
					if n := g.runner.started(id); n != 1 || g.jobs[id].gaps != 0 {
						t.Errorf("back to %s when %s, restart %v: started %d times, %d gaps", to, when, restart, n, g.jobs[id].gaps)
					}
				})
			}
		}
	}
}

// TestStoreWentBackUnderASession: an ack tells of it.
func TestStoreWentBackUnderASession(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a out:b sleep:1000 out:c sleep:1000 out:d")
		g.connect()
		synctest.Wait()
		g.is(id, queue.Running, "ab")
		g.set(func() {
			j := g.jobs[id]
			j.State, j.Stored = queue.Accepted, 1
			j.stdout.Reset()
		})
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		g.is(id, queue.Running, "abc")
		time.Sleep(time.Second)
		synctest.Wait()
		g.is(id, queue.Succeeded, "abcd")
	})
}

// TestWelcomeRewinds: what is on the way when a session begins is given again.
func TestWelcomeRewinds(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.cut()
		begin := time.Now()
		for range 2 {
			g.agent.Deliver(&wire.Welcome{Session: 5, Time: time.Now().UnixMilli()})
			events, err := g.agent.Pull(context.Background(), 1000, true)
			if err != nil || len(events) != 1 || g.agent.Unacked() != wire.EventSize(events[0]) {
				t.Fatalf("%v, %v, %d on the way", events, err, g.agent.Unacked())
			}
		}
		if d := time.Since(begin); d > 0 {
			t.Errorf("it took %v", d)
		}
	})
}

// TestHelloNamesNothingTwice has an execution both in hand and among those whose output is
// kept, as it is for a moment when it is revived while it settles.
func TestHelloNamesNothingTwice(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
		entry, _ := g.agent.journal.get(id)
		g.agent.revive(entry, 1)
		g.agent.keep(id, 1, time.Now().Add(time.Hour))
		named := 0
		for _, x := range g.agent.Hello().Executions {
			if x.Execution == id {
				named++
			}
		}
		if named != 1 {
			t.Errorf("named %d times", named)
		}
	})
}

// TestKeptTwice has an execution settled twice, as it is when it is revived while it settles: the first time may be the last to be
// written down.
func TestKeptTwice(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
		g.agent.keep(id, 1, time.Now().Add(time.Hour))
		g.agent.keep(id, 1, time.Now().Add(2*time.Hour))
		var named []string
		for _, x := range g.agent.Hello().Executions {
			named = append(named, x.Execution)
		}
		if !slices.Equal(named, []string{id}) {
			t.Errorf("the hello names %q", named)
		}
	})
}

// TestUnansweredIsSentAgain: an ack that never comes doesn't stop an execution
// for ever.
func TestUnansweredIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.set(func() { g.hold = false })
		time.Sleep(29 * time.Second)
		synctest.Wait()
		g.is(id, queue.Leased, "")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
	})
}

func TestCredit(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.credit = 1000
		id := g.submit(strings.Repeat("out:"+strings.Repeat("x", 100)+" ", 200) + "out:" + strings.Repeat("y", 5000))
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, strings.Repeat("x", 20_000)+strings.Repeat("y", 5000))
		if g.maxRoom > 0 {
			t.Errorf("%d bytes beyond the credit were on the way", g.maxRoom)
		}
	})
}

// TestTurns: executions share the way, and the urgent lane goes first.
func TestTurns(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		g.cfg.Slots = map[string]int{"default": 2}
		g.newAgent()
		long := strings.Repeat("out:"+strings.Repeat("x", 8000)+" ", 50)
		script := "sleep:1 " + long
		a, b := g.submit(script), g.submit(script)
		u := g.submit(script, func(s *wire.Spec) { s.Lane = "urgent" })
		g.connect()
		synctest.Wait()
		g.set(func() { g.hold = true })
		g.agent.Deliver(&wire.Welcome{Session: 9, N: 99, Time: time.Now().UnixMilli()})
		time.Sleep(10 * time.Millisecond) // they print
		synctest.Wait()
		g.cut()
		for id := range g.jobs {
			g.agent.resume(&wire.Resume{Execution: id, Stored: g.jobs[id].Stored, Verdict: wire.VerdictGo}, time.Now())
		}
		var got []string
		for range 16 {
			events, err := g.agent.Pull(context.Background(), 1<<30, true)
			if err != nil {
				t.Fatal(err)
			}
			size := int64(0)
			for _, e := range events {
				size += wire.EventSize(e)
				id, _ := e.Ref()
				if len(got) == 0 || got[len(got)-1] != id {
					got = append(got, id)
				}
			}
			if size > pullBytes+9000 || len(events) > pullEvents {
				t.Errorf("a pull of %d bytes, %d events", size, len(events))
			}
		}
		// Each round begins with the urgent one while it lasts, and leaves nobody out.
		if len(got) < 20 || len(got)%3 != 0 {
			t.Fatalf("order %v", got)
		}
		for i := 0; i < len(got); i += 3 {
			round := got[i : i+3]
			if round[0] != u || !slices.Contains(round, a) || !slices.Contains(round, b) {
				t.Fatalf("round %d: %v", i/3, round)
			}
		}
	})
}

func TestPullEnds(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		if events, err := g.agent.Pull(ctx, 100, true); err == nil || events != nil {
			t.Errorf("%v, %v", events, err)
		}
	})
}

// TestStandbyWelcome: a socket that only stands by changes nothing.
func TestStandbyWelcome(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		g.submit("out:x")
		g.connect()
		synctest.Wait()
		on := g.agent.Unacked()
		g.agent.Deliver(&wire.Welcome{Standby: true, Time: 1})
		if on == 0 || g.agent.Unacked() != on {
			t.Errorf("on the way: %d, then %d", on, g.agent.Unacked())
		}
	})
}

// TestClock: times of events are the gateway's, whatever this host's clock says.
func TestClock(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.agent.Deliver(&wire.Welcome{Session: 5, Time: time.Now().Add(time.Hour).UnixMilli()})
		g.agent.resume(&wire.Resume{Execution: id}, time.Now())
		events, err := g.agent.Pull(context.Background(), 1<<20, true)
		if err != nil || len(events) == 0 {
			t.Fatal(events, err)
		}
		if at := events[0].(*wire.Accepted).At; at != time.Now().Add(time.Hour).UnixMilli() {
			t.Errorf("at %v", time.UnixMilli(at))
		}
	})
}
