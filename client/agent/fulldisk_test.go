package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// spoilJournal lets no record be written until the journal is at its path again.
func (g *gate) spoilJournal() (mend func()) {
	j := g.agent.journal
	path := j.path
	set := func(path string) {
		j.lead <- struct{}{}
		defer func() { <-j.lead }()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.path, j.broken = path, true
	}
	set("/proc/none/journal")
	return func() { set(path) }
}

// TestEndThatCannotBeJournalled has a script whose end doesn't fit the disk, and then
// a store that goes back: the start mark alone forbids another start.
func TestEndThatCannotBeJournalled(t *testing.T) {
	for _, c := range []struct {
		later  time.Duration // 2 h: the output is gone
		want   queue.State
		stdout string
	}{{0, queue.Succeeded, "ab"}, {2 * time.Hour, queue.Lost, ""}} {
		bubble(t, func(t *testing.T, g *gate) {
			id := g.submit("out:a sleep:1000 out:b")
			before := g.jobs[id].Held
			g.connect()
			synctest.Wait()
			mend := g.spoilJournal()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			g.is(id, queue.Succeeded, "ab")
			mend()
			time.Sleep(c.later)
			g.cut()
			g.set(func() {
				g.jobs[id].Held = before
				g.jobs[id].stdout.Reset()
			})
			g.connect()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := g.runner.started(id); n != 1 {
				t.Errorf("after %v: started %d times", c.later, n)
			}
			g.is(id, c.want, c.stdout)
		})
	}
}
