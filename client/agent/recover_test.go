package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestBlindAtFirst: an agent that can't find out what became of a script, since it has no descriptor left, asks
// again: the script isn't lost.
func TestBlindAtFirst(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		while  func(g *gate, id string) // the agent is blind and connected
		want   queue.State
		stdout string
	}{
		"runs":              {"out:a sleep:100000 out:b", func(*gate, string) {}, queue.Succeeded, "ab"},
		"cancelled":         {"out:a sleep:100000 out:b", func(g *gate, id string) { g.cancel(id) }, queue.Cancelled, "a"},
		"ended":             {"out:a sleep:1000 out:b exit:3", func(*gate, string) {}, queue.Failed, "ab"},
		"its host rebooted": {"out:a out:b out:c sleep:100000", func(g *gate, _ string) { g.runner.reboot(2) }, queue.Lost, "abc"},
		"connected anew":    {"out:a sleep:100000 out:b", func(g *gate, _ string) { g.connect() }, queue.Succeeded, "ab"},
	} {
		bubble(t, func(t *testing.T, g *gate) {
			id := g.submit(c.script)
			g.connect()
			synctest.Wait()
			g.shut()
			time.Sleep(2 * time.Second)
			g.runner.blind = 5
			g.newAgent()
			g.connect()
			synctest.Wait()
			if g.state(id) != queue.Running || !g.agent.Busy() {
				t.Errorf("%s: while nothing is known it is %v", name, g.state(id))
			}
			c.while(g, id)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			g.is(id, c.want, c.stdout)
			if n := g.runner.started(id); n != 1 || g.jobs[id].gaps != 0 || g.agent.Busy() || g.jobs[id].Late != nil {
				t.Errorf("%s: started %d times, %d gaps, busy %v", name, n, g.jobs[id].gaps, g.agent.Busy())
			}
		})
	}
}

// TestBlindAndForgotten: what the store doesn't want any more is let go of once it has ended.
func TestBlindAndForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a sleep:1000")
		g.connect()
		synctest.Wait()
		g.shut()
		time.Sleep(2 * time.Second) // it ends
		g.runner.blind = 5
		g.newAgent()
		g.agent.Deliver(&wire.Ack{Execution: id, Verdict: wire.VerdictForget, Reason: queue.ReasonEnded})
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.agent.Busy() || g.runner.has(id) {
			t.Errorf("busy: %v, output is kept: %v", g.agent.Busy(), g.runner.has(id))
		}
	})
}

// TestBlindUntilClosed: the agent can end meanwhile.
func TestBlindUntilClosed(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a sleep:1000")
		g.connect()
		synctest.Wait()
		g.shut()
		g.runner.blind = 1000
		g.newAgent()
		time.Sleep(time.Minute)
		g.shut()
		g.runner.blind = 0
		g.newAgent()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "a")
	})
}

// TestAckTellsWhatIsStored: the number of a lost one's last event follows that, whether a welcome says so or an ack.
func TestAckTellsWhatIsStored(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a out:b out:c sleep:100000")
		g.connect()
		synctest.Wait()
		g.shut()
		g.runner.reboot(2)
		g.newAgent()
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 5})
		events, err := g.agent.Pull(context.Background(), 1<<20, true)
		if err != nil || len(events) != 1 {
			t.Fatalf("%v, %v", events, err)
		}
		if f, ok := events[0].(*wire.Finished); !ok || f.Seq != 6 || f.Outcome != wire.Lost {
			t.Errorf("%+v", events[0])
		}
		if e, _ := g.agent.journal.get(id); e.Ended == nil || e.Ended.Seq != 6 {
			t.Errorf("journalled: %+v", e.Ended)
		}
	})
}

// whileMarking has the store say something while the start mark is written: nothing was started yet, and so
// nothing may be.
func whileMarking(t *testing.T, say func(g *gate, id string), then func(g *gate, id string)) {
	t.Helper()
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.agent.journal.lead <- struct{}{} // the disk is slow
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
		synctest.Wait()
		g.agent.journal.mu.Lock()
		marking := g.agent.journal.batch != nil && g.agent.journal.batch.records[0].Entry.StartedAt > 0
		g.agent.journal.mu.Unlock()
		if !marking {
			t.Fatal("the mark isn't being written")
		}
		say(g, id)
		synctest.Wait()
		<-g.agent.journal.lead
		synctest.Wait()
		g.started(id, 0)
		if e, ok := g.agent.journal.get(id); !ok || e.StartedAt != 0 {
			t.Errorf("the mark is in force: %+v", e)
		}
		then(g, id)
	})
}

func TestForgetWhileMarking(t *testing.T) {
	forget := func(g *gate, id string) {
		g.agent.Deliver(&wire.Ack{Execution: id, Verdict: wire.VerdictForget, Reason: queue.ReasonStaleToken})
	}
	// It isn't cancelled: nobody asked for that. Delivered again, it runs.
	whileMarking(t, forget, func(g *gate, id string) {
		if e, _ := g.agent.journal.get(id); !e.Forgotten || e.Ended != nil || g.agent.Busy() {
			g.t.Errorf("journalled %+v; busy: %v", e, g.agent.Busy())
		}
		g.set(func() { g.jobs[id].EndLease(time.Now()); g.hold = false })
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
	})
}

func TestCancelWhileMarking(t *testing.T) {
	whileMarking(t, func(g *gate, id string) { g.agent.Deliver(&wire.Cancel{Execution: id}) }, func(g *gate, id string) {
		g.set(func() { g.hold = false })
		g.connect()
		synctest.Wait()
		g.is(id, queue.Cancelled, "")
	})
}

// TestNewTokenWhileMarking: the store has forgotten its go; it is asked again, and says no this time.
func TestNewTokenWhileMarking(t *testing.T) {
	whileMarking(t, func(g *gate, id string) {
		g.set(func() { g.jobs[id].EndLease(time.Now()) })
		g.deliver()
	}, func(g *gate, id string) {
		g.cancel(id) // flagged, as long as it is leased
		g.set(func() { g.hold = false })
		g.agent.mu.Lock()
		g.agent.rewindLocked(g.agent.execs[id], 0)
		g.agent.mu.Unlock()
		synctest.Wait()
		if n := g.runner.started(id); n != 0 || g.state(id) != queue.Cancelled {
			g.t.Errorf("started %d times, %v", n, g.state(id))
		}
	})
}

// TestV1Journal: what an agent of the first version left is gone on with. testdata/v1/journal has one of
// each: accepted, started twice, forgotten, settled.
func TestV1Journal(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		b, err := os.ReadFile("testdata/v1/journal")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(g.dir, "journal"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		id := func(n int) string { return fmt.Sprintf("%026d.h", n) }
		g.cfg.MachineID = "machine-1"
		g.newAgent()
		synctest.Wait()
		var hand []string
		for _, x := range g.agent.Hello().Executions {
			hand = append(hand, x.Execution)
		}
		if want := []string{id(1), id(2), id(3)}; !reflect.DeepEqual(hand, want) {
			t.Errorf("in hand: %v", hand)
		}
		entries := g.agent.journal.list()
		if len(entries) != 5 || string(entries[0].Script) != "out:waited" || entries[0].Spec.Env["K"] != "v" || !entries[3].Forgotten || entries[4].SettledAt != 3003 || entries[4].Ended.Outcome != wire.Succeeded {
			t.Errorf("entries %+v", entries)
		}
		if n := g.agent.journal.position(); n != 7 {
			t.Errorf("position %d", n)
		}
		// A mark without a trace.
		g.agent.Deliver(&wire.Welcome{Executions: []wire.Resume{{Execution: id(2), Stored: 1, Verdict: wire.VerdictGo}, {Execution: id(3), Stored: 4, Verdict: wire.VerdictGo}}})
		events, err := g.agent.Pull(context.Background(), 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		ends := map[string]int64{}
		for _, ev := range events {
			if f, ok := ev.(*wire.Finished); ok && f.Outcome == wire.Lost {
				ends[f.Execution] = f.Seq
			}
		}
		if want := map[string]int64{id(2): 2, id(3): 5}; !reflect.DeepEqual(ends, want) {
			t.Errorf("lost: %v", ends)
		}
	})
}

// TestV1JournalDamaged: its records don't tell what was synced, so damage with others after it is refused.
func TestV1JournalDamaged(t *testing.T) {
	b, err := os.ReadFile("testdata/v1/journal")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseJournal(b)
	if err != nil || len(c.entries) != 5 {
		t.Fatalf("%+v, %v", c, err)
	}
	b[len(b)/2] ^= 1
	if _, err := parseJournal(b); err == nil || !strings.Contains(err.Error(), "damaged at byte") {
		t.Errorf("%v", err)
	}
}

// TestPlainWords: reasons that operators read aren't Go's.
func TestPlainWords(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("start a supervisor: fork/exec /proc/self/exe: %w", syscall.EAGAIN):     "too many processes",
		fmt.Errorf("x: %w", &os.PathError{Op: "open", Path: "/a/b", Err: syscall.EMFILE}):  "too many files",
		fmt.Errorf("x: %w", &os.PathError{Op: "mkdir", Path: "/a/b", Err: syscall.ENOSPC}): "disk",
		fmt.Errorf("x: %w", &os.PathError{Op: "mkdir", Path: "/a/b", Err: syscall.EPERM}):  "/a/b: operation not permitted",
	} {
		if got := plain(err); !strings.Contains(got, want) || strings.Contains(got, "fork/exec") || strings.HasPrefix(got, "x: ") {
			t.Errorf("%v: %q", err, got)
		}
	}
}
