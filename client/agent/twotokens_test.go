package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestBothTokensOnTheWay has a lease that lapsed while its acceptance was on the way, and
// both answers together: the go that follows the forget is for the token that counts.
func TestBothTokensOnTheWay(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:a")
		g.connect()
		synctest.Wait() // accepted is on the way
		g.set(func() { g.jobs[id].EndLease(time.Now()) })
		g.deliver()
		synctest.Wait() // and so it is under the new token
		var acks []*wire.Ack
		g.set(func() {
			j := g.jobs[id]
			for _, token := range []string{"token-1", j.Token} {
				acks = append(acks, g.recordLocked([]wire.Event{&wire.Accepted{Execution: id, Seq: 1, Token: token, Position: 1}})...)
			}
			g.hold = false
		})
		if len(acks) != 2 || acks[0].Verdict != wire.VerdictForget || acks[1].Verdict != wire.VerdictGo {
			t.Fatalf("acks %+v", acks)
		}
		g.agent.journal.lead <- struct{}{} // the disk is slower than they are
		for _, a := range acks {
			g.agent.Deliver(a)
		}
		<-g.agent.journal.lead
		time.Sleep(time.Minute)
		synctest.Wait()
		g.is(id, queue.Succeeded, "a")
		g.started(id, 1)
	})
}

// TestAnswersApart has the go come long after the forget. The ack names the acceptance that it
// answers, and so the forget isn't taken for the token that counts.
func TestAnswersApart(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:a")
		g.connect()
		synctest.Wait()
		g.set(func() { g.jobs[id].EndLease(time.Now()) })
		g.deliver()
		synctest.Wait() // accepted is on the way under both tokens
		var acks []*wire.Ack
		g.set(func() {
			for _, token := range []string{"token-1", g.jobs[id].Token} {
				for _, a := range g.recordLocked([]wire.Event{&wire.Accepted{Execution: id, Seq: 1, Token: token, Position: 1}}) {
					a.Token = token
					acks = append(acks, a)
				}
			}
			g.hold = false
		})
		if len(acks) != 2 || acks[0].Verdict != wire.VerdictForget || acks[1].Verdict != wire.VerdictGo {
			t.Fatalf("acks %+v", acks)
		}
		for _, a := range acks {
			g.agent.Deliver(a)
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		g.is(id, queue.Succeeded, "a")
		g.started(id, 1)
	})
}
