package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var stores = []string{"sqlite", "redis"}

// TestMainJob is the whole way: three hosts, on the socket, on the poll, and offline until the job
// already waits; real scripts; output live; the exit status.
func TestMainJob(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, store)
			s.agent(s.enrol("on-socket"), nil, "--transport", "socket")
			s.agent(s.enrol("on-poll", "--label", "role=edge"), nil, "--transport", "poll")
			late := s.enrol("late")
			s.online("on-socket")
			s.online("on-poll")

			hold := filepath.Join(s.dir, "hold")
			job := start(t, s.env, "rexctl", "job", "run", "--all", "--", "echo begin; while [ ! -e "+hold+" ]; do sleep 0.05; done; echo end; echo oops >&2")
			// The first lines are there while the scripts still run, and one host is away.
			job.out.waitFor(t, `on-socket.*begin`)
			job.out.waitFor(t, `on-poll.*begin`)
			if strings.Contains(job.out.String(), "late") {
				t.Error("an offline host has output")
			}
			s.agent(late, nil)
			job.out.waitFor(t, `late.*begin`)
			if err := os.WriteFile(hold, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if code := job.wait(); code != 0 {
				t.Errorf("status %d", code)
			}
			if n := strings.Count(job.out.String(), "end"); n != 3 {
				t.Errorf("%d hosts said end:\n%s", n, job.out)
			}
			expect(t, "stderr", job.err.String(), "oops")

			out, _, code := s.rexctl("job", "run", "--selector", "role=edge", "--", "echo only; exit 3")
			if code != 1 || strings.Count(out, "only") != 1 {
				t.Errorf("a failing script on one host: status %d, output %q", code, out)
			}
			if _, errs, code := s.rexctl("job", "run", "--host", "nobody", "--", "true"); code != 2 || !strings.Contains(errs, "nobody") {
				t.Errorf("an unknown host: status %d, %s", code, errs)
			}
		})
	}
}

// TestTwoGateways has the host on one gateway, and the operator on another.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	a := newSite(t, "redis")
	b := *a
	b.serve = append([]string{}, a.serve...)
	b.up()
	state := a.enrol("h")
	host := a.agent(state, nil)
	a.online("h")
	elsewhere := []string{"REXCTL_SERVER=" + b.url, a.env[1], "HOME=" + a.dir}
	job := start(t, elsewhere, "rexctl", "job", "run", "--host", "h", "--", "echo one; read x < "+fifo(t, a.dir)+"; echo two")
	job.out.waitFor(t, "one")
	// Its gateway dies in the middle of the job; the host goes on with the other.
	host.stop()
	a.gate.kill()
	a.agent(state, nil, "--gateway", b.url)
	unblock(t, a.dir)
	job.out.waitFor(t, "two")
	if code := job.wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// TestGatewayKilled lets a job wait in the store of a gateway that is killed.
func TestGatewayKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	state := s.enrol("h")
	id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", "echo survived"))
	s.gate.kill()
	port := strings.TrimPrefix(s.url, "http://")
	for i, arg := range s.serve {
		if arg == "127.0.0.1:0" {
			s.serve[i] = port
		}
	}
	s.up()
	s.agent(state, nil)
	out, errs, code := s.rexctl("job", "watch", id)
	if code != 0 {
		t.Errorf("status %d: %s", code, errs)
	}
	expect(t, "output", out+must(t, s.env, "rexctl", "job", "logs", id), "survived")
}

// TestOnce fetches, runs, reports and exits.
func TestOnce(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"socket", "poll"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "sqlite")
			state := s.enrol("cron")
			id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", "echo from cron"))
			must(t, nil, "rexagent", "run", "--once", "--allow-root", "--state-dir", state, "--transport", transport)
			expect(t, "output", must(t, s.env, "rexctl", "job", "logs", id), "from cron")
			must(t, nil, "rexagent", "run", "--once", "--allow-root", "--state-dir", state, "--transport", transport)
		})
	}
}
