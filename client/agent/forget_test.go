package agent

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func TestForgetThenNewToken(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.set(func() { g.jobs[id].EndLease(time.Now()) }) // it lapsed
		g.set(func() { g.hold = false })
		old := g.message(id)
		g.connect() // the welcome says forget, and the job comes again under another token
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
		g.started(id, 1)
		if old.Token == g.jobs[id].Token {
			t.Error("the token is the same")
		}
	})
}

// TestForgottenTokenIsRefused: the very delivery that was to be forgotten comes
// again, after a restart too.
func TestForgottenTokenIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		m := g.message(id)
		g.agent.Deliver(&wire.Ack{Execution: id, Verdict: wire.VerdictForget, Reason: queue.ReasonStaleToken})
		synctest.Wait()
		for range 2 {
			if g.agent.Busy() {
				t.Fatal("not forgotten")
			}
			g.agent.Deliver(m)
			synctest.Wait()
			if e := g.onDisk(id); !e.Forgotten {
				t.Fatalf("journal: %+v", e)
			}
			g.restart()
		}
		// Under another token it is a new delivery.
		m.Token = "another"
		g.agent.Deliver(m)
		synctest.Wait()
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
		synctest.Wait()
		g.started(id, 1)
	})
}

// TestForgetOfTheTokenBefore: it comes when the job was delivered under another one
// already, and isn't about that.
func TestForgetOfTheTokenBefore(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.cut()
		m := g.message(id)
		m.Token = "another"
		g.agent.Deliver(m)
		g.agent.Deliver(&wire.Ack{Execution: id, Verdict: wire.VerdictForget, Reason: queue.ReasonStaleToken})
		synctest.Wait()
		events, err := g.agent.Pull(context.Background(), 1000, true)
		if err != nil || len(events) != 1 || events[0].(*wire.Accepted).Token != "another" {
			t.Fatalf("%v, %v", events, err)
		}
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
		synctest.Wait()
		g.started(id, 1)
	})
}

// TestGoAfterForget: the store contradicts itself; nothing starts, and the execution
// doesn't hang.
func TestGoAfterForget(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.agent.Deliver(&wire.Ack{Execution: id, Verdict: wire.VerdictForget})
		synctest.Wait()
		g.set(func() {
			g.recordLocked([]wire.Event{&wire.Accepted{Execution: id, Seq: 1, Token: g.jobs[id].Token, Position: 1}})
			g.hold = false
		})
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
		synctest.Wait()
		g.is(id, queue.Lost, "")
		g.started(id, 0)
	})
}
