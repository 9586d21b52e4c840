package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
)

// sleeper is a script that leaves the pid of a child in a file, and waits for it.
func sleeper(file string) string { return "sleep 1000 & echo $! > " + file + "; wait" }

// child waits for what a sleeper left.
func child(t *testing.T, file string) (proc string) {
	t.Helper()
	clienttest.Until(t, "the script runs", func() bool { b, _ := os.ReadFile(file); return strings.HasSuffix(string(b), "\n") })
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return "/proc/" + strings.TrimSpace(string(b))
}

func lives(proc string) bool {
	_, err := os.Stat(proc)
	return err == nil
}

// TestCancel ends a running script with its children, on either transport, and what waits for an offline host.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"socket", "poll"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "sqlite")
			s.agent(s.enrol("here"), nil, "--transport", transport)
			s.enrol("away")
			s.online("here")
			alive := filepath.Join(s.dir, "alive")
			id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", sleeper(alive)))
			proc := child(t, alive)
			clienttest.Until(t, "its start is known, and why it hasn't ended", func() bool {
				return strings.Contains(must(t, s.env, "rexctl", "job", "why", id), "1 running, 1 waiting for a host that never connected")
			})
			expect(t, "the cancel", must(t, s.env, "rexctl", "job", "cancel", id), "1 cancelled; 1 asked for")
			if _, errs, code := s.rexctl("job", "watch", id); code != 1 {
				t.Errorf("watching a cancelled job: status %d, %s", code, errs)
			}
			// It was confirmed when the process was gone, not before.
			if lives(proc) {
				t.Error("the script's child lives")
			}
			expect(t, "the job", must(t, s.env, "rexctl", "job", "show", id), "2 cancelled")
			expect(t, "why it hasn't ended", must(t, s.env, "rexctl", "job", "why", id), "The job has ended")
		})
	}
}

// TestCancelAway cancels a script whose host is cut off: the script goes on as nobody can reach it, the cancel waits, and is
// confirmed over the other transport when the host is back.
func TestCancelAway(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ store, from, to string }{{"sqlite", "socket", "poll"}, {"redis", "poll", "socket"}} {
		t.Run(way.from+" to "+way.to, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, way.store)
			state := s.enrol("h")
			agent := s.agent(state, nil, "--transport", way.from)
			s.online("h")
			alive := filepath.Join(s.dir, "alive")
			id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--host", "h", "--detach", "--", sleeper(alive)))
			next := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--host", "h", "--detach", "--", "echo after"))
			proc := child(t, alive)
			clienttest.Until(t, "its start is known", func() bool {
				return strings.Contains(must(t, s.env, "rexctl", "job", "show", id, "h"), "running")
			})
			agent.kill()
			expect(t, "the cancel", must(t, s.env, "rexctl", "job", "cancel", id), "0 cancelled; 1 asked for")
			expect(t, "why it hasn't ended", must(t, s.env, "rexctl", "job", "why", id, "h"), "A cancel was asked for")
			if !lives(proc) {
				t.Fatal("the script ended with its agent")
			}
			s.agent(state, nil, "--transport", way.to)
			if _, errs, code := s.rexctl("job", "watch", id); code != 1 || !strings.Contains(errs, "1 cancelled") {
				t.Errorf("watching a cancelled job: status %d, %s", code, errs)
			}
			if lives(proc) {
				t.Error("the script's child lives")
			}
			if out, errs, code := s.rexctl("job", "watch", next); code != 0 || out != "after\n" {
				t.Errorf("the next job: status %d, %s%s", code, out, errs)
			}
		})
	}
}
