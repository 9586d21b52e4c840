package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// TestGap: what isn't kept any more is a gap.
func TestGap(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:abc out:def exit:5")
		before := g.jobs[id].Held
		g.connect()
		synctest.Wait()
		g.is(id, queue.Failed, "abcdef")
		time.Sleep(59 * time.Minute)
		if !g.runner.has(id) {
			t.Error("the output was removed early")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if g.runner.has(id) {
			t.Fatal("the output is still there")
		}
		g.set(func() {
			g.jobs[id].Held = before
			g.jobs[id].stdout.Reset()
			g.events = nil
		})
		g.restart()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Failed, "")
		if got := g.kinds(id); got != "accepted/1 started/2 gap/3 finished/5" || g.jobs[id].Output.Gap != 6 {
			t.Errorf("%s; a gap of %d bytes", got, g.jobs[id].Output.Gap)
		}
		g.started(id, 1)
	})
}

// TestRecordsArePruned: by the gateway's time, whatever this host's clock says.
func TestRecordsArePruned(t *testing.T) {
	for _, ahead := range []time.Duration{0, -100 * time.Hour, 100 * time.Hour} {
		bubble(t, func(t *testing.T, g *gate) {
			g.ahead = ahead
			id := g.submit("sleep:1800000 out:x") // so that records are looked through at half past
			g.connect()
			time.Sleep(23 * time.Hour)
			other := g.submit("sleep:1800000 out:y")
			g.deliver()
			synctest.Wait()
			if _, ok := g.agent.journal.get(id); !ok {
				t.Errorf("%v: forgotten before deliver_until", ahead)
			}
			time.Sleep(105 * time.Minute) // to 45 minutes beyond
			synctest.Wait()
			if _, ok := g.agent.journal.get(id); !ok {
				t.Errorf("%v: forgotten while a store that went back may deliver it anew", ahead)
			}
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			if _, ok := g.agent.journal.get(id); ok {
				t.Errorf("%v: remembered long after deliver_until", ahead)
			}
			if _, ok := g.agent.journal.get(other); !ok {
				t.Errorf("%v: the other one was forgotten too", ahead)
			}
		})
	}
}

// TestRecordsStayWithoutTheTime: an agent that has heard of no gateway doesn't know what is past, whatever its own
// clock says.
func TestRecordsStayWithoutTheTime(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.shut()
		time.Sleep(48 * time.Hour)
		g.newAgent()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if _, ok := g.agent.journal.get(id); !ok {
			t.Error("forgotten")
		}
		g.connect()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if _, ok := g.agent.journal.get(id); ok {
			t.Error("remembered long after deliver_until")
		}
	})
}

func TestKeepIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		g.cfg.KeepBytes = 25
		g.newAgent()
		g.connect()
		var ids []string
		for range 4 {
			ids = append(ids, g.submit("out:0123456789"))
			g.deliver()
			synctest.Wait()
		}
		for i, id := range ids {
			if g.runner.has(id) != (i >= 2) {
				t.Errorf("output %d is kept: %v", i, g.runner.has(id))
			}
		}
	})
}
