package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
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
		if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
			t.Fatal("root is required")
		}
		t.Skip("not root")
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
			wait(t, func() bool { return !exists("/proc/" + strconv.Itoa(supervisor)) })
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

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	copied := filepath.Join(s.dir, "copied")
	if err := os.CopyFS(copied, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(copied, "host.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "journal"), []byte("RXJL\x02\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("slots:\n  default: many\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		says string
		args []string
	}{
		"not enrolled":      {program.ExitFailed, "isn't enrolled", []string{"run", "--state-dir", s.dir}},
		"newer journal":     {program.ExitFailed, "version 2", []string{"run", "--state-dir", copied}},
		"bad lane":          {program.ExitUsage, "--slots", []string{"run", "--state-dir", state, "--slots", "UPPER=1"}},
		"bad slots":         {program.ExitUsage, "not a number", []string{"run", "--state-dir", state, "--config", config}},
		"too many slots":    {program.ExitUsage, "--slots", []string{"run", "--state-dir", state, "--slots", "default=65"}},
		"bad transport":     {program.ExitUsage, "--transport", []string{"run", "--state-dir", state, "--transport", "pigeon"}},
		"bad level":         {program.ExitUsage, "--log-level", []string{"run", "--state-dir", state, "--log-level", "loud"}},
		"unknown flag":      {program.ExitUsage, "--lane", []string{"run", "--lane", "x"}},
		"unknown command":   {program.ExitUsage, `"rum"`, []string{"rum"}},
		"arguments":         {program.ExitUsage, "takes no arguments", []string{"run", "x"}},
		"no token":          {program.ExitUsage, "--token-file", []string{"enroll", "--state-dir", s.dir}},
		"no token file":     {program.ExitFailed, "none", []string{"enroll", "--state-dir", s.dir, "--token-file", filepath.Join(s.dir, "none")}},
		"not a token":       {program.ExitFailed, "enrolment token", []string{"enroll", "--state-dir", s.dir, "--token-file", config}},
		"supervise by hand": {1, "for the agent's own use", []string{"supervise", s.dir}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := rexagent(t, "", c.args...)
			if code := p.ended(); code != c.code || !strings.Contains(p.err.String(), c.says) || strings.Count(p.err.String(), "\n") != 1 {
				t.Errorf("status %d: %s", code, p.err.String())
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	p := rexagent(t, "", "doctor", "--state-dir", state)
	if code := p.ended(); code != 0 || !strings.Contains(p.out.String(), s.url) || strings.Contains(p.out.String(), "FAILED") {
		t.Errorf("status %d: %s", code, p.out.String())
	}
	p = rexagent(t, "", "doctor", "--state-dir", state, "--gateway", "http://127.0.0.1:1", "--json")
	if code := p.ended(); code != program.ExitFailed {
		t.Errorf("status %d: %s", code, p.out.String())
	}
	var checks []map[string]any
	if err := json.Unmarshal(p.out.Bytes(), &checks); err != nil || len(checks) == 0 || checks[0]["ok"] != false {
		t.Errorf("%s: %v", p.out.String(), err)
	}
}

// TestEnrolAgain under a running agent, which goes on with what it has read.
func TestEnrolAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.url}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again := func(want bool) {
		t.Helper()
		p := rexagent(t, token, "enroll", "--token-file", "-", "--state-dir", state, "--host", "h")
		if code := p.ended(); code != 0 || !strings.Contains(p.out.String(), "Enrolled as h") || strings.Contains(p.out.String(), "restart rexagent run") != want {
			t.Errorf("status %d: %s%s", code, p.out.String(), p.err.String())
		}
	}
	again(false) // nothing ran yet
	first := s.run(state)
	s.ends(s.submit("h", "true"), "h") // it runs
	again(true)
	first.stop(syscall.SIGTERM)
	again(false)
}

func TestDoctorBeforeEnrolment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	none := filepath.Join(s.dir, "none")
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.url}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		stdin string
		code  int
		says  string
		args  []string
	}{
		"by URL":      {"", 0, "a gateway answers", []string{"--gateway", s.url}},
		"by token":    {token, 0, "a gateway answers", []string{"--token-file", "-"}},
		"not there":   {"", program.ExitFailed, "FAILED", []string{"--gateway", "http://127.0.0.1:1"}},
		"neither":     {"", program.ExitUsage, "--token-file", nil},
		"not a token": {"nonsense", program.ExitFailed, "enrolment token", []string{"--token-file", "-"}},
	} {
		p := rexagent(t, c.stdin, append([]string{"doctor", "--state-dir", none}, c.args...)...)
		if code := p.ended(); code != c.code || !strings.Contains(p.out.String()+p.err.String(), c.says) {
			t.Errorf("%s: status %d: %s%s", name, code, p.out.String(), p.err.String())
		}
	}
	if exists(none) {
		t.Error("it made the state directory")
	}
}

// TestSettings come from the file too, and one file serves all commands.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	config := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(config, []byte("state-dir: "+state+"\nallow-root: true\nslots:\n  default: 2\ntransport: socket\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rexagent(t, "", "run", "--config", config)
	trace := t.TempDir()
	// Two at a time: each waits for the other.
	meet := func(mine, other string) string {
		return "cd " + trace + "; touch " + mine + "; while [ ! -e " + other + " -a -d " + trace + " ]; do sleep 0.02; done; echo met"
	}
	jobs := []string{s.submit("h", meet("x", "y")), s.submit("h", meet("y", "x"))}
	for _, job := range jobs {
		if x, out := s.ends(job, "h"); x.State != "succeeded" || out != "met\n" {
			t.Errorf("%+v, %q", x, out)
		}
	}
	if p := rexagent(t, "", "doctor", "--config", config); p.ended() != 0 {
		t.Errorf("doctor: %s", p.err.String())
	}
	h, err := s.Host(t.Context(), "h")
	if err != nil || h.Facts["arch"] == "" || h.Facts["kernel"] == "" {
		t.Errorf("facts %v, %v", h.Facts, err)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"version"}, nil, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "rexagent ") {
		t.Errorf("status %d: %s", code, out.String())
	}
}

// TestRevoked in mid-session or before the start: it ends with the status that says not to
// start it again, and doctor doesn't call that well.
func TestRevoked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	polls := s.run(state, "--transport", "poll")
	s.ends(s.submit("h", "true"), "h") // it runs
	if err := s.RevokeHost(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	check := func(p *proc) {
		t.Helper()
		if code := p.ended(); code != exitStayAway || !strings.Contains(p.err.String(), "revoked") {
			t.Errorf("%q: status %d: %s", p.Args[1:], code, p.err.String())
		}
	}
	check(polls)
	for _, transport := range []string{"socket", "poll", "auto"} {
		check(s.run(state, "--transport", transport))
		check(s.run(state, "--transport", transport, "--once"))
	}
	p := rexagent(t, "", "doctor", "--state-dir", state)
	if code := p.ended(); code != program.ExitFailed || !strings.Contains(p.out.String(), "enrol it anew") {
		t.Errorf("status %d: %s", code, p.out.String())
	}
}
