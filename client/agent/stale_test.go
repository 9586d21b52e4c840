package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestStaleGo: the disk, or the machine, stood still between the question whether to start a script and the fork. What the
// store says by then is what counts.
func TestStaleGo(t *testing.T) {
	stands := map[string]func(g *gate, say func()) (goOn func()){
		"the disk is full": func(g *gate, say func()) func() {
			mend := g.spoilJournal()
			say()
			return mend
		},
		"the mark takes long": func(g *gate, say func()) func() {
			g.agent.journal.lead <- struct{}{}
			say()
			return func() { <-g.agent.journal.lead }
		},
		"the go lay unread": func(_ *gate, say func()) func() { return say },
		"the welcome lay unread": func(g *gate, _ func()) func() {
			g.cut()
			g.agent.Hello()
			return func() {
				id := g.order[0]
				g.agent.Deliver(&wire.Welcome{Session: 99, N: 99, Executions: []wire.Resume{{Execution: id, Stored: 1, Verdict: wire.VerdictGo}}})
				synctest.Wait()
				g.connect()
			}
		},
	}
	for how, stand := range stands {
		for _, c := range []struct {
			name   string
			change func(j *job)
			want   queue.State
			starts int
		}{
			{"still accepted", func(*job) {}, queue.Succeeded, 1},
			{"lost", func(j *job) { j.Lose(queue.WhySilent, time.Now()) }, queue.Lost, 0},
			{"cancelled", func(j *job) { j.Cancel("someone", time.Now()) }, queue.Cancelled, 0},
		} {
			t.Run(how+", "+c.name, func(t *testing.T) {
				bubble(t, func(t *testing.T, g *gate) {
					g.hold = true
					id := g.submit("out:x")
					g.connect()
					synctest.Wait()
					g.set(func() {
						g.recordLocked([]wire.Event{&wire.Accepted{Execution: id, Seq: 1, Token: g.jobs[id].Token, Position: 1}})
					})
					goOn := stand(g, func() {
						g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
					})
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					g.set(func() {
						g.hold = false
						c.change(g.jobs[id])
					})
					goOn()
					time.Sleep(10 * time.Second)
					synctest.Wait()
					stdout := ""
					if c.starts > 0 {
						stdout = "x"
					}
					g.is(id, c.want, stdout)
					g.started(id, c.starts)
					if e := g.onDisk(id); (e.StartedAt > 0) != (c.starts > 0) || g.agent.Busy() {
						t.Errorf("busy %v, journalled %+v", g.agent.Busy(), e)
					}
				})
			})
		}
	}
}
