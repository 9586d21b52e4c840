package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// never allows nothing.
type never struct{}

func (never) Check(*wire.Job) error { return errors.New("not on this host") }

func TestRejections(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		change func(*wire.Spec)
		says   string
	}{
		"policy":    {never{}, func(*wire.Spec) {}, "not on this host"},
		"digest":    {always{}, func(s *wire.Spec) { s.Script = "out:other" }, "SHA-256"},
		"size":      {always{}, func(s *wire.Spec) { s.ScriptSize = 2 << 20 }, "at most"},
		"user":      {UserPolicy{AllowRoot: true}, func(s *wire.Spec) { s.User = "no-such-user" }, "no such user"},
		"too large": {always{}, func(s *wire.Spec) { s.Script, s.ScriptURL, s.ScriptSize = "", "/x", 1<<20+1 }, "at most"},
	} {
		bubble(t, func(t *testing.T, g *gate) {
			g.shut()
			g.cfg.Policy = c.policy
			g.newAgent()
			id := g.submit("out:x", c.change)
			g.connect()
			synctest.Wait()
			g.is(id, queue.Rejected, "")
			if g.runner.started(id) != 0 || g.agent.Busy() || !strings.Contains(g.jobs[id].Result.Reason, c.says) {
				t.Errorf("%s: reason %q, busy %v", name, g.jobs[id].Result.Reason, g.agent.Busy())
			}
			if got := g.kinds(id); got != "rejected/1" {
				t.Errorf("%s: %s", name, got)
			}
		})
	}
}

func TestUserPolicy(t *testing.T) {
	root := os.Geteuid() == 0
	own := UserPolicy{}.Check(&wire.Job{})
	if (own != nil) != root {
		t.Errorf("as own user: %v", own)
	}
	if root && !strings.Contains(own.Error(), "--allow-root") {
		t.Errorf("the reason doesn't say what to do: %v", own)
	}
	if err := (UserPolicy{AllowRoot: true}).Check(&wire.Job{}); err != nil {
		t.Error(err)
	}
	if err := (UserPolicy{}).Check(&wire.Job{Spec: wire.Spec{User: "root"}}); err == nil {
		t.Error("root by name is allowed")
	}
	if err := (UserPolicy{}).Check(&wire.Job{Spec: wire.Spec{User: "daemon"}}); (err == nil) != root {
		t.Errorf("another user: %v", err)
	}
}

func TestFetch(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		script := strings.Repeat("out:x ", 2)
		fail := true
		g.cfg.Fetch = func(_ context.Context, path string, size int64) ([]byte, error) {
			if path != "/v1/agent/script/x" || size != int64(len(script)) {
				t.Errorf("fetched %s, %d", path, size)
			}
			if fail {
				return nil, errors.New("cut")
			}
			return []byte(script), nil
		}
		g.newAgent()
		id := g.submit(script, func(s *wire.Spec) { s.Script, s.ScriptURL = "", "/v1/agent/script/x" })
		g.connect()
		synctest.Wait()
		if g.agent.Busy() || g.state(id) != queue.Leased {
			t.Errorf("after a failed fetch: busy %v, %v", g.agent.Busy(), g.state(id))
		}
		fail = false
		g.connect()
		synctest.Wait()
		g.is(id, queue.Succeeded, "xx")
	})
}

// TestSlots: a lane's job waits for its slot, another lane's doesn't.
func TestSlots(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		first := g.submit("sleep:1000")
		g.connect()
		synctest.Wait()
		// The store believes that the slot is free: it gave the first one up.
		g.set(func() { g.jobs[first].Lose("silence", time.Now()) })
		second, urgent := g.submit("out:2"), g.submit("out:u", func(s *wire.Spec) { s.Lane = "urgent" })
		g.deliver()
		synctest.Wait()
		g.is(second, queue.Leased, "")
		g.is(urgent, queue.Succeeded, "u")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.is(second, queue.Succeeded, "2")
		if g.jobs[first].Late == nil || g.jobs[first].Late.Outcome != queue.Succeeded {
			t.Errorf("the late result: %+v", g.jobs[first].Late)
		}
	})
}

func TestMoreSlots(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		g.shut()
		g.cfg.Slots = map[string]int{"default": 2}
		g.newAgent()
		a, b, c := g.submit("sleep:1000"), g.submit("sleep:1000"), g.submit("sleep:1000")
		g.connect()
		synctest.Wait()
		if g.state(a) != queue.Running || g.state(b) != queue.Running || g.state(c) != queue.Queued {
			t.Errorf("%v, %v, %v", g.state(a), g.state(b), g.state(c))
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		g.is(c, queue.Running, "")
	})
}

func TestUnusableIDs(t *testing.T) {
	bubble(t, func(t *testing.T, g *gate) {
		for _, id := range []string{"", "../x", "a/b", ".", ".."} {
			g.agent.Deliver(&wire.Job{Execution: id, Token: "t", Spec: wire.Spec{Script: "x"}})
		}
		synctest.Wait()
		if g.agent.Busy() {
			t.Error("one was taken")
		}
		if entries, err := os.ReadDir(filepath.Join(g.dir, "x")); err != nil || len(entries) != 0 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}
