package agent

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

var _ client.Peer = (*Agent)(nil)

func TestMain(m *testing.M) {
	runner.Hook()
	if dir := os.Getenv(remoteVar); dir != "" {
		beRemote(dir)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each supervisor takes a second to exit
	goleak.VerifyTestMain(m)
}

// bubble runs a test against a gate, in a bubble of its own time.
func bubble(t *testing.T, f func(t *testing.T, g *gate)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		f(t, g)
		g.end()
	})
}

func TestJob(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:one sleep:500 out:two err:bad exit:3")
		before := g.agent.Hello()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Running, "one")
		time.Sleep(time.Second)
		synctest.Wait()
		g.is(id, queue.Failed, "onetwo")
		if g.jobs[id].Result.ExitCode != 3 || g.jobs[id].Position != 1 {
			t.Errorf("%+v", g.jobs[id].Execution)
		}
		if got := g.kinds(id); got != "accepted/1 started/2 output/3 output/4 output/5 finished/6" {
			t.Error(got)
		}
		if g.agent.Busy() || g.agent.Unacked() != 0 {
			t.Error("not settled")
		}
		// A hello composed before the acceptance doesn't speak of it; one composed after does.
		if after := g.agent.Hello(); before.Position >= g.jobs[id].Position || after.Position < g.jobs[id].Position || before.Generation != after.Generation {
			t.Errorf("positions %d, %d, %d", before.Position, g.jobs[id].Position, after.Position)
		}
	})
}

// TestNothingStartsBeforeGo: not before it, and not by any later forget.
func TestNothingStartsBeforeGo(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.runner.started(id) != 0 || !g.agent.Busy() {
			t.Fatal("started without the store's word")
		}
		if e, ok := g.agent.journal.get(id); !ok || e.StartedAt != 0 || string(e.Script) != "out:x" {
			t.Errorf("journalled %+v", e)
		}
		g.set(func() { g.hold = false })
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
	})
}

// TestCancelWhileAcceptedIsOnItsWay: accepted was stored, its go was lost, the job
// was cancelled: it never starts.
func TestCancelWhileAcceptedIsOnItsWay(t *testing.T) {
	for _, lose := range []string{"request", "answer"} {
		for _, restart := range []bool{false, true} {
			bubble(t, func(t *testing.T, g *gate) {
				g.loseNext = lose
				id := g.submit("out:x")
				g.connect()
				synctest.Wait()
				g.cut()
				g.cancel(id)
				if restart {
					g.restart()
				}
				g.connect()
				synctest.Wait()
				g.is(id, queue.Cancelled, "")
				if g.runner.started(id) != 0 || g.agent.Busy() {
					t.Errorf("lose %s, restart %v: started %d times, busy %v", lose, restart, g.runner.started(id), g.agent.Busy())
				}
			})
		}
	}
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		polite := g.submit("out:x sleep:100000")
		g.connect()
		synctest.Wait()
		g.cancel(polite)
		synctest.Wait()
		g.is(polite, queue.Cancelled, "x")

		deaf := g.submit("deaf out:x sleep:100000", func(s *wire.Spec) { s.Grace = 3000 })
		g.deliver()
		synctest.Wait()
		g.cancel(deaf)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.is(deaf, queue.Running, "x")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.is(deaf, queue.Cancelled, "x")
	})
}

// TestCancelWhileAway: it is told by the welcome.
func TestCancelWhileAway(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:x sleep:100000")
		g.connect()
		synctest.Wait()
		g.cut()
		g.set(func() { g.jobs[id].Cancel("someone", time.Now()) })
		g.restart()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Cancelled, "x")
	})
}

func TestRestartInEachPhase(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) { // waiting
		g.hold = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		g.restart()
		g.set(func() { g.hold = false })
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "x")
	})
	bubble(t, func(t *testing.T, g *gate) { // running
		id := g.submit("out:one sleep:1000 out:two sleep:1000 out:three")
		g.connect()
		synctest.Wait()
		g.restart()
		time.Sleep(1500 * time.Millisecond)
		g.connect()
		synctest.Wait()
		g.is(id, queue.Running, "onetwo")
		time.Sleep(time.Second)
		synctest.Wait()
		g.is(id, queue.Succeeded, "onetwothree")
		if n := g.runner.started(id); n != 1 || g.jobs[id].gaps != 0 {
			t.Errorf("started %d times, %d gaps", n, g.jobs[id].gaps)
		}
	})
	bubble(t, func(t *testing.T, g *gate) { // ended, untold
		id := g.submit("out:one sleep:1000 exit:4")
		g.connect()
		synctest.Wait()
		g.cut()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.restart()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Failed, "one")
	})
	bubble(t, func(t *testing.T, g *gate) { // ended while nobody looked
		id := g.submit("out:one sleep:1000 exit:4")
		g.connect()
		synctest.Wait()
		g.shut()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.newAgent()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Failed, "one")
	})
}

// TestMarkWithoutTrace: the agent ended between the mark and the start.
func TestMarkWithoutTrace(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.runner.stuck = true
		id := g.submit("out:x")
		g.connect()
		synctest.Wait()
		if e, _ := g.agent.journal.get(id); e.StartedAt == 0 {
			t.Fatal("no mark before the start")
		}
		g.restart()
		g.runner.stuck = false
		g.connect()
		synctest.Wait()
		g.is(id, queue.Lost, "")
		if n := g.runner.started(id); n != 0 || !strings.Contains(g.jobs[id].Result.Reason, "about to start") {
			t.Errorf("started %d times; %s", n, g.jobs[id].Result.Reason)
		}
	})
}

// TestHostRebooted: less is on disk than was sent; the last event follows what the
// store has.
func TestHostRebooted(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a out:b out:c sleep:100000")
		g.connect()
		synctest.Wait()
		g.shut()
		g.runner.reboot(2) // started, a
		g.newAgent()
		g.connect()
		synctest.Wait()
		g.is(id, queue.Lost, "abc")
		if g.jobs[id].Late != nil || !strings.Contains(g.jobs[id].Result.Reason, "restarted") {
			t.Errorf("%+v", g.jobs[id].Result)
		}
		g.restart() // and nothing is reported twice
		g.connect()
		synctest.Wait()
		if g.jobs[id].Late != nil {
			t.Errorf("reported again: %+v", g.jobs[id].Late)
		}
	})
}

func TestStartFails(t *testing.T) {
	for err, want := range map[error]queue.State{
		&runner.RefusedError{Reason: "no such user"}: queue.Rejected,
		errors.New("no room for a process"):          queue.Failed,
	} {
		bubble(t, func(t *testing.T, g *gate) {
			g.runner.refuse = err
			id := g.submit("out:x")
			g.connect()
			synctest.Wait()
			g.is(id, want, "")
			if !strings.Contains(g.jobs[id].Result.Reason, err.Error()) {
				t.Errorf("reason %q", g.jobs[id].Result.Reason)
			}
		})
	}
}

// TestIdleIsCheap: an agent that has nothing to do has no goroutine and little
// memory.
func TestIdleIsCheap(t *testing.T) {
	const n = 2000
	agents := make([]*Agent, n)
	var before, after runtime.MemStats
	goroutines := runtime.NumGoroutine()
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := newMemRunner()
	for i := range agents {
		a, err := New(Config{Runner: r, Policy: always{}, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		agents[i] = a
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes an idle agent", (after.HeapAlloc-before.HeapAlloc)/n)
	if now := runtime.NumGoroutine(); now > goroutines {
		t.Errorf("%d goroutines more", now-goroutines)
	}
	for _, a := range agents {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
