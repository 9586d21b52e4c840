package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestStoredIsTrimmed: what is stored leaves the disk while its script runs, but not at once: a store that goes back is
// served for a while, and then has a gap.
func TestStoredIsTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		id := g.submit("out:a out:b sleep:580000 out:c sleep:3600000 out:d", func(s *wire.Spec) { s.RunTimeout = 36_000_000 })
		g.connect()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		back := func() {
			g.set(func() {
				g.jobs[id].Stored = 3
				g.jobs[id].stdout.Reset()
				g.jobs[id].stdout.WriteString("a")
			})
			g.connect()
			synctest.Wait()
		}
		if back(); g.runner.trimmed(id) != 0 {
			t.Error("trimmed early")
		}
		g.is(id, queue.Running, "ab")
		time.Sleep(90 * time.Second) // what was printed just now is young
		synctest.Wait()
		g.is(id, queue.Running, "abc")
		if n := g.runner.trimmed(id); n != 0 {
			t.Errorf("trimmed up to %d", n)
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := g.runner.trimmed(id); n != 5 {
			t.Errorf("trimmed up to %d", n)
		}
		if g.runner.rooms(id)[0] != roomFor(1<<20) || len(g.runner.rooms(id)) != 1 {
			t.Errorf("rooms %v", g.runner.rooms(id))
		}
		back()
		g.is(id, queue.Running, "a")
		time.Sleep(time.Hour)
		synctest.Wait()
		g.is(id, queue.Succeeded, "ad")
		if g.jobs[id].gaps != 1 || g.jobs[id].Output.Gap != 1 {
			t.Errorf("%d gaps of %d bytes", g.jobs[id].gaps, g.jobs[id].Output.Gap)
		}
	})
}

// TestFullIsTrimmedAtOnce: a script that waits for room goes on as soon as some of its output is stored.
func TestFullIsTrimmedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.hold = true
		id := g.submit("out:a out:b sleep:100000 out:c")
		g.connect()
		synctest.Wait()
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
		synctest.Wait()
		g.runner.mu.Lock()
		g.runner.scripts[id].full = true
		g.runner.scripts[id].tell()
		g.runner.mu.Unlock()
		synctest.Wait()
		if n := g.runner.trimmed(id); n > 1 {
			t.Fatalf("trimmed up to %d, of which nothing is stored", n)
		}
		g.runner.mu.Lock()
		g.runner.scripts[id].full = true
		g.runner.scripts[id].tell()
		g.runner.mu.Unlock()
		synctest.Wait()
		g.agent.Deliver(&wire.Ack{Execution: id, Stored: 3})
		synctest.Wait()
		if n := g.runner.trimmed(id); n != 3 {
			t.Errorf("trimmed up to %d", n)
		}
		// It is told its room once more: that wakes it.
		if rooms := g.runner.rooms(id); len(rooms) < 2 || rooms[len(rooms)-1] != roomFor(1<<20) {
			t.Errorf("rooms %v", rooms)
		}
	})
}

// TestRoomIsShared: executions get room as far as there is, what one gives back goes to others, after a restart
// too.
func TestRoomIsShared(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		g.cfg.Slots = map[string]int{"default": 3}
		g.cfg.SpoolBytes = roomFor(8<<20) + 3<<20
		g.newAgent()
		big := func(s *wire.Spec) { s.OutputLimit = 8 << 20 }
		all := roomFor(8 << 20)
		var ids []string
		for i, want := range []int64{all, 3 << 20, leastRoom} {
			id := g.submit(fmt.Sprintf("sleep:%d", (i+1)*60_000), big)
			g.connect()
			synctest.Wait()
			if rooms := g.runner.rooms(id); !reflect.DeepEqual(rooms, []int64{want}) {
				t.Errorf("room %d: %v", i, rooms)
			}
			ids = append(ids, id)
		}
		g.restart()
		g.connect()
		synctest.Wait()
		last := func(id string) int64 {
			rooms := g.runner.rooms(id)
			return rooms[len(rooms)-1]
		}
		for i, want := range []int64{all, 3 << 20, leastRoom} {
			if rooms := g.runner.rooms(ids[i]); len(rooms) != 2 || last(ids[i]) != want {
				t.Errorf("room %d after the restart: %v", i, rooms)
			}
		}
		time.Sleep(90 * time.Second) // the first one ends
		synctest.Wait()
		if g.is(ids[0], queue.Succeeded, ""); last(ids[1]) != all || last(ids[2]) != 3<<20 {
			t.Errorf("what is left: %d, %d", last(ids[1]), last(ids[2]))
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := g.agent.claimedLocked(); n != 0 {
			t.Errorf("%d bytes are claimed by none", n)
		}
	})
}

// TestSpoolOnDisk has a real script that prints more than it may have on disk, and a store that is away: it waits, and goes
// on when the store is back. The bound is kept all the time, and nothing is missing.
func TestSpoolOnDisk(t *testing.T) {
	g := newGate(t)
	g.shut()
	g.cfg.Runner, g.cfg.SpoolBytes, g.cfg.BootID = runner.New(), 1, "boot"
	g.newAgent()
	defer g.end()
	g.set(func() { g.hold = true })
	id := g.submit("seq 1 400000", func(s *wire.Spec) { s.OutputLimit = 8 << 20 })
	g.connect()
	clienttest.Until(t, "the job is accepted", func() bool { return g.agent.Unacked() > 0 })
	g.agent.Deliver(&wire.Ack{Execution: id, Stored: 1, Verdict: wire.VerdictGo})
	onDisk := func() (n int64) {
		segs, err := filepath.Glob(filepath.Join(g.dir, "x", id, "*.seg"))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segs {
			if info, err := os.Stat(s); err == nil {
				n += info.Size()
			}
		}
		if n > leastRoom+192<<10 { // what its pipes hold when it ends
			t.Fatalf("%d bytes on disk", n)
		}
		return n
	}
	clienttest.Until(t, "the script waits for room", func() bool {
		onDisk()
		g.agent.mu.Lock()
		defer g.agent.mu.Unlock()
		return g.agent.execs[id].full
	})
	if n := onDisk(); n < leastRoom/2 {
		t.Errorf("it waits with %d bytes on disk", n)
	}
	g.set(func() { g.hold = false })
	g.connect()
	clienttest.Until(t, "the script has ended", func() bool {
		onDisk()
		return g.state(id).Terminal()
	})
	var want strings.Builder
	for i := 1; i <= 400_000; i++ {
		fmt.Fprintln(&want, i)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if j := g.jobs[id]; j.State != queue.Succeeded || j.stdout.String() != want.String() || j.gaps != 0 {
		t.Errorf("%v (%s), %d bytes of %d, %d gaps", j.State, j.Result.Reason, j.stdout.Len(), want.Len(), j.gaps)
	}
}

// TestDiskUse: what is kept counts as it is on the disk, the script and the directory too.
func TestDiskUse(t *testing.T) {
	g := newGate(t)
	defer g.end()
	dir := filepath.Join(g.dir, "x", "job.h")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	entry := Entry{Execution: "job.h", Ended: &Ended{Bytes: 10}}
	empty := g.agent.diskUse(entry)
	if err := os.WriteFile(filepath.Join(dir, "script"), make([]byte, 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := g.agent.diskUse(entry); n < empty+100_000 || n > empty+200_000 {
		t.Errorf("%d bytes with a script of 100,000, %d without", n, empty)
	}
	entry.Ended.Bytes = 1 << 40
	if n := g.agent.diskUse(entry); n != 1<<40 {
		t.Errorf("%d bytes", n)
	}
}
