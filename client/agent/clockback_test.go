package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// TestOutputOfAClockThatWasSetBack settles by a clock that is a year ahead, and goes on with the right one: what is kept is
// kept for its hour, not for the year.
func TestOutputOfAClockThatWasSetBack(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a")
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "a")
		entry, ok := g.agent.journal.get(id)
		if !ok || entry.SettledAt == 0 {
			t.Fatalf("not settled: %+v", entry)
		}
		entry.SettledAt += 365 * 24 * time.Hour.Milliseconds()
		if err := g.agent.journal.put(&entry, true); err != nil {
			t.Fatal(err)
		}
		g.restart()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if g.runner.has(id) {
			t.Error("the output is still there after two hours")
		}
	})
}
