package agent

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestRandomFaults: connections cut anywhere, agents restarted, hosts rebooted, stores that go
// back, cancels: each script starts at most once, each execution ends, and what is
// stored of the output is what was printed.
func TestRandomFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGate(t)
			defer g.end()
			g.connect()
			var ids []string
			rebooted := map[string]bool{}
			certain := map[string]bool{} // cancelled before it could start
			var snapshot map[string]job
			snapshots := 0 // how often the store went back: a cancel may be lost by that
			for range rapid.IntRange(5, 40).Draw(rt, "steps") {
				switch rapid.SampledFrom([]string{"submit", "submit", "request", "answer", "cut", "restart", "wait", "cancel", "save", "back", "reboot", "lapse"}).Draw(rt, "step") {
				case "submit":
					n := len(ids)
					lane := rapid.SampledFrom([]string{"default", "urgent", "other"}).Draw(rt, "lane")
					ids = append(ids, g.submit(fmt.Sprintf("out:a%d sleep:300 out:b%d sleep:300 out:c%d", n, n, n), func(s *wire.Spec) { s.Lane = lane }))
					g.deliver()
				case "request":
					g.set(func() { g.lose = "request" })
				case "answer":
					g.set(func() { g.lose = "answer" })
				case "cut":
					g.connect()
				case "restart":
					g.restart()
					g.connect()
				case "wait":
					time.Sleep(time.Duration(rapid.IntRange(0, 700).Draw(rt, "ms")) * time.Millisecond)
				case "cancel":
					if len(ids) > 0 {
						id := rapid.SampledFrom(ids).Draw(rt, "id")
						if s := g.state(id); s == queue.Queued {
							certain[id] = g.runner.started(id) == 0
						}
						g.cancel(id)
					}
				case "save":
					synctest.Wait()
					snapshot = map[string]job{}
					g.set(func() {
						for id, j := range g.jobs {
							c := job{Held: j.Held, spec: j.spec, gaps: j.gaps}
							c.stdout.WriteString(j.stdout.String())
							snapshot[id] = c
						}
					})
				case "back":
					g.cut()
					g.set(func() {
						for id := range snapshot {
							j, c := g.jobs[id], snapshot[id]
							j.Held, j.gaps = c.Held, c.gaps
							j.stdout.Reset()
							j.stdout.WriteString(c.stdout.String())
						}
					})
					snapshot = nil
					snapshots++
					g.connect()
				case "reboot":
					g.shut()
					g.runner.mu.Lock()
					for id, s := range g.runner.scripts {
						rebooted[id] = rebooted[id] || s.exit == nil
					}
					g.runner.mu.Unlock()
					g.runner.reboot(rapid.IntRange(1, 4).Draw(rt, "frames"))
					g.newAgent()
					g.connect()
				case "lapse":
					synctest.Wait()
					g.set(func() {
						for _, j := range g.jobs {
							j.EndLease(time.Now())
						}
					})
					g.deliver()
				}
			}
			g.restart()
			g.connect()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			for i, id := range ids {
				j := g.jobs[id]
				want := fmt.Sprintf("a%db%dc%d", i, i, i)
				got := j.stdout.String()
				switch {
				case g.runner.started(id) > 1:
					rt.Errorf("%s was started %d times", id, g.runner.started(id))
				case certain[id] && snapshots == 0 && g.runner.started(id) > 0:
					rt.Errorf("%s was started after it was cancelled", id)
				case !j.State.Terminal():
					rt.Errorf("%s is still %v; agent busy: %v", id, j.State, g.agent.Busy())
				case j.State == queue.Succeeded && got != want && j.gaps == 0:
					rt.Errorf("%s printed %q, stored is %q", id, want, got)
				case !strings.HasPrefix(want, got) && j.gaps == 0:
					rt.Errorf("%s: stored is %q", id, got)
				case j.State == queue.Lost && !rebooted[id] && !strings.Contains(j.Result.Reason, "forget") && j.Result.Reason != queue.WhyVanished:
					rt.Errorf("%s is lost: %s", id, j.Result.Reason)
				}
			}
			if g.agent.Busy() || g.agent.Unacked() != 0 {
				rt.Errorf("the agent isn't done: %d on the way", g.agent.Unacked())
			}
		})
	})
}
