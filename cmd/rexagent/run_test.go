package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway/api"
)

func TestJobs(t *testing.T) {
	for _, transport := range []string{"socket", "poll"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			state := s.enrol("h")
			s.run(state, "--transport", transport)
			x, out := s.ends(s.submit("h", "#!/bin/sh\necho hello; echo bad >&2; exit 3\n"), "h")
			if x.State != "failed" || x.Result.ExitCode != 3 || out != "hello\nbad\n" && out != "bad\nhello\n" {
				t.Errorf("%+v, output %q", x, out)
			}
			large := "#!/bin/sh\n" + strings.Repeat("# a line that nobody reads\n", 10_000) + "echo large\n"
			if x, out := s.ends(s.submit("h", large), "h"); x.State != "succeeded" || out != "large\n" {
				t.Errorf("%+v, output %q", x, out)
			}
			x, _ = s.ends(s.submit("h", "true", func(r *api.JobRequest) { r.User = "no-such-user" }), "h")
			if x.State != "rejected" || !strings.Contains(x.Result.Reason, "no-such-user") {
				t.Errorf("%+v", x)
			}
			x, out = s.ends(s.submit("h", "echo begun; sleep 1000", func(r *api.JobRequest) { r.RunTimeout = api.Duration(time.Second) }), "h")
			if x.State != "timed_out" || out != "begun\n" {
				t.Errorf("%+v, output %q", x, out)
			}
		})
	}
}

func TestUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		clienttest.Lacking(t, "switch users: not root")
	}
	s := newSite(t)
	state := s.enrol("h")
	p := s.run(state, "--allow-root=false")
	x, out := s.ends(s.submit("h", "id -un", func(r *api.JobRequest) { r.User = "nobody" }), "h")
	if x.State != "succeeded" || out != "nobody\n" {
		t.Errorf("%+v, output %q", x, out)
	}
	if x, _ = s.ends(s.submit("h", "id -un"), "h"); x.State != "rejected" || !strings.Contains(x.Result.Reason, "--allow-root") {
		t.Errorf("%+v", x)
	}
	allowed := s.run(s.enrol("h2"))
	s.ends(s.submit("h2", "true"), "h2")
	for p, want := range map[*proc]int{p: 1, allowed: 0} {
		p.stop(syscall.SIGTERM)
		if n := strings.Count(p.err.String(), "jobs that name no user"); n != want {
			t.Errorf("warned %d times, want %d: %s", n, want, p.err.String())
		}
	}
}

// long is a script that counts its starts outside, and goes on when told, or when the test
// has ended.
func long(dir string) string {
	return "cd " + dir + `
echo start >> starts
echo one
while [ ! -e a -a -d ` + dir + ` ]; do sleep 0.02; done; echo two
while [ ! -e b -a -d ` + dir + ` ]; do sleep 0.02; done; echo three
`
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAgentEnds under a running job, killed or in good order: the job goes on, the next
// agent takes it up, and nothing of its output is lost or doubled.
func TestAgentEnds(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "terminated": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			state, trace := s.enrol("h"), t.TempDir()
			first := s.run(state)
			job := s.submit("h", long(trace))
			s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\n" })
			first.stop(sig)
			if says := strings.Contains(first.err.String(), "rexagent stops") && strings.Contains(first.err.String(), "scripts=1"); says != (sig == syscall.SIGTERM) {
				t.Errorf("log: %s", first.err.String())
			}
			touch(t, filepath.Join(trace, "a"))
			second := s.run(state)
			s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\ntwo\n" })
			second.stop(sig)
			touch(t, filepath.Join(trace, "b"))
			s.run(state)
			x, out := s.ends(job, "h")
			if x.State != "succeeded" || out != "one\ntwo\nthree\n" || read(t, filepath.Join(trace, "starts")) != "start\n" {
				t.Errorf("%+v, output %q", x, out)
			}
		})
	}
}

// TestHostComesBackWithoutTheScript: rebooted, its supervisor killed, or its trace gone.
func TestHostComesBackWithoutTheScript(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		says string
	}{
		"rebooted": {func(t *testing.T, dir string) {
			edit(t, dir, func(s map[string]any) { s["boot"] = "another" })
		}, "restarted"},
		"supervisor killed": {func(t *testing.T, dir string) {
			edit(t, dir, func(s map[string]any) {
				pid := int(s["supervisor"].(map[string]any)["pid"].(float64))
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			})
		}, "supervisor was killed"},
		"no trace": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, "about to start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			state, trace := s.enrol("h"), t.TempDir()
			first := s.run(state)
			job := s.submit("h", long(trace))
			s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\n" })
			first.stop(syscall.SIGKILL)
			supervisor := 0
			edit(t, filepath.Join(state, "x", job+".h"), func(s map[string]any) {
				supervisor = int(s["supervisor"].(map[string]any)["pid"].(float64))
			})
			c.harm(t, filepath.Join(state, "x", job+".h"))
			s.run(state)
			x, out := s.ends(job, "h")
			if x.State != "lost" || !strings.Contains(x.Result.Reason, c.says) || out != "one\n" {
				t.Errorf("%+v, output %q", x, out)
			}
			touch(t, filepath.Join(trace, "a")) // ends what may be left of it
			touch(t, filepath.Join(trace, "b"))
			if got := read(t, filepath.Join(trace, "starts")); got != "start\n" {
				t.Errorf("starts: %q", got)
			}
			clienttest.Until(t, "the supervisor has ended", func() bool { return !exists("/proc/" + strconv.Itoa(supervisor)) })
		})
	}
}

// edit changes a supervisor's state file.
func edit(t *testing.T, dir string, f func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, "state")
	var s map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &s); err != nil {
		t.Fatal(err)
	}
	f(s)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCancelEndsChildren through all of it.
func TestCancelEndsChildren(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(s.enrol("h"), "--transport", "poll")
	trace := t.TempDir()
	job := s.submit("h", "cd "+trace+`
sh -c 'trap "" TERM; echo $$ > deaf; while [ -d "$PWD" ]; do sleep 0.1; done' &
while [ ! -s deaf ]; do sleep 0.02; done
echo ready; wait`, func(r *api.JobRequest) { r.Grace = api.Duration(time.Second) })
	s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "ready\n" })
	if _, err := s.Cancel(t.Context(), job, api.Selection{}); err != nil {
		t.Fatal(err)
	}
	if x, _ := s.ends(job, "h"); x.State != "cancelled" {
		t.Errorf("%+v", x)
	}
	if pid := strings.TrimSpace(read(t, filepath.Join(trace, "deaf"))); exists("/proc/" + pid) {
		t.Error("its child lives")
	}
}

// TestEndLeftovers: what scripts leave behind is ended where the agent is told so.
func TestEndLeftovers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.run(s.enrol("h"), "--end-leftovers")
	trace := t.TempDir()
	job := s.submit("h", "cd "+trace+"\n"+daemon(trace, "left")+"exit 3", func(r *api.JobRequest) { r.Grace = api.Duration(100 * time.Millisecond) })
	if x, _ := s.ends(job, "h"); x.State != "failed" || x.Result.ExitCode != 3 {
		t.Errorf("%+v", x)
	}
	if pid := strings.TrimSpace(read(t, filepath.Join(trace, "left"))); exists("/proc/" + pid) {
		t.Error("what it left behind lives")
	}
}

// TestKeepOutput: what is stored leaves the host after a while, which can be set.
func TestKeepOutput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	first := s.run(state)
	job := s.submit("h", "echo kept")
	s.ends(job, "h")
	first.stop(syscall.SIGTERM)
	dir := filepath.Join(state, "x", job+".h")
	if !exists(dir) {
		t.Error("removed at once")
	}
	s.run(state, "--keep-output", "1ms")
	clienttest.Until(t, "the output is removed", func() bool { return !exists(dir) })
}

func TestSecondAgentIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	s.run(state)
	s.ends(s.submit("h", "true"), "h") // it runs
	p := s.run(state)
	if code := p.ended(); code != program.ExitFailed || strings.Count(p.err.String(), "\n") != 1 || !strings.Contains(p.err.String(), "another agent") {
		t.Errorf("status %d: %s", code, p.err.String())
	}
}

func TestOnce(t *testing.T) {
	for _, transport := range []string{"auto", "socket", "poll"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			state := s.enrol("h")
			once := func() {
				t.Helper()
				if p := s.run(state, "--once", "--transport", transport); p.ended() != 0 {
					t.Errorf("status %d: %s", p.ProcessState.ExitCode(), p.err.String())
				}
			}
			once() // nothing waits
			jobs := []string{s.submit("h", "echo 1; sleep 0.2; exit 1"), s.submit("h", "echo 2")}
			once()
			for i, job := range jobs {
				x, err := s.Execution(t.Context(), job, "h")
				if err != nil || x.Result == nil || s.output(job, "h") != []string{"1\n", "2\n"}[i] {
					t.Errorf("%+v, %v", x, err)
				}
			}
		})
	}
	t.Run("no gateway", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		state := s.enrol("h")
		p := s.run(state, "--once", "--gateway", "http://127.0.0.1:1")
		if p.ended() != program.ExitFailed || !strings.Contains(p.err.String(), "127.0.0.1:1") {
			t.Errorf("status %d: %s", p.ProcessState.ExitCode(), p.err.String())
		}
	})
}
