package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
)

// hostPy is the client that was written from the protocol's document alone.
const hostPy = "../../docs/examples/host.py"

// python runs it without anything but Python's standard library.
func python(t *testing.T, args ...string) (program string, all []string) {
	t.Helper()
	return clienttest.Program(t, "python3"), append([]string{"-I", "-S", "-B", hostPy}, args...)
}

// pythonHost enrols a host with host.py and gives its state directory.
func pythonHost(t *testing.T, s *site, host string) string {
	t.Helper()
	token, state := filepath.Join(s.dir, "enrol-"+host), filepath.Join(s.dir, "host-"+host)
	if err := os.WriteFile(token, []byte(must(t, s.env, "rexctl", "token", "enroll")), 0o600); err != nil {
		t.Fatal(err)
	}
	program, args := python(t, "enroll", "--token-file", token, "--host", host, "--state", state)
	for range 2 { // again changes nothing
		must(t, nil, program, args...)
	}
	return state
}

// TestPythonHost has the documented protocol spoken by a client that shares no code with this project.
func TestPythonHost(t *testing.T) {
	t.Parallel()
	clienttest.Program(t, "python3")
	s := newSite(t, "sqlite")
	state := pythonHost(t, s, "py")
	program, args := python(t, "run", "--state", state)
	host := start(t, nil, program, args...)
	s.online("py")

	// Output comes while the script runs, on both streams, with its characters whole.
	job := start(t, s.env, "rexctl", "job", "run", "--all", "--", "echo ünï€😀; echo oops >&2; read x <"+fifo(t, s.dir)+"; echo end; exit 3")
	job.out.waitFor(t, "ünï€😀")
	job.err.waitFor(t, "oops")
	unblock(t, s.dir)
	if code := job.wait(); code != 1 {
		t.Errorf("a failing script: status %d", code)
	}
	expect(t, "output", job.out.String(), "end")
	expect(t, "end", job.err.String(), "failed: exit 3")

	text := filepath.Join(s.dir, "text")
	want := strings.Repeat("aé€😀\n", 20000) + "\xff\x00\xe2\x82"
	write(t, text, want)
	out, errs, code := s.rexctl("job", "run", "--all", "--env", "A=b", "--", "#!/bin/sh -e\n[ \"$A\" = b ]; cat "+text)
	if code != 0 || out != want {
		t.Errorf("status %d, %d bytes of output, not %d: %s", code, len(out), len(want), errs)
	}
	_, errs, _ = s.rexctl("job", "run", "--all", "--output-limit", "1000", "--", "cat "+text)
	expect(t, "truncated output", errs, "truncated")
	_, errs, _ = s.rexctl("job", "run", "--all", "--run-timeout", "1s", "--", "sleep 1000")
	expect(t, "a script without an end", errs, "timed_out")
	_, errs, _ = s.rexctl("job", "run", "--all", "--", "kill -9 $$")
	expect(t, "a killed script", errs, "SIGKILL")

	alive := filepath.Join(s.dir, "alive")
	id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--grace", "1s", "--", "trap '' TERM; sleep 1000 & echo $! >"+alive+"; wait; wait"))
	clienttest.Until(t, "the script runs", func() bool { b, _ := os.ReadFile(alive); return len(b) > 0 })
	must(t, s.env, "rexctl", "job", "cancel", id)
	s.rexctl("job", "watch", id)
	expect(t, "the cancelled job", must(t, s.env, "rexctl", "job", "show", id), "cancelled")
	pid, _ := os.ReadFile(alive)
	clienttest.Until(t, "the script's child is gone", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
		return os.IsNotExist(err)
	})

	// After a crash, what ran is lost; what had not been delivered is done.
	id = strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", "echo $$; sleep 1000"))
	group := 0
	clienttest.Until(t, "the script has begun", func() bool {
		group, _ = strconv.Atoi(strings.TrimSpace(must(t, s.env, "rexctl", "job", "logs", id)))
		return group > 0
	})
	host.kill()
	syscall.Kill(-group, syscall.SIGKILL)
	next := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", "echo from next"))
	program, args = python(t, "run", "--state", state, "--once")
	must(t, nil, program, args...)
	expect(t, "the job of the crash", must(t, s.env, "rexctl", "job", "show", id), "lost")
	expect(t, "the next job", must(t, s.env, "rexctl", "job", "show", next), "succeeded")

	for _, name := range []string{"key", "host.json", "journal"} {
		if info, err := os.Stat(filepath.Join(state, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestPythonHostAgain has the gateway's store go back in time: what was run comes again, and isn't run again.
func TestPythonHostAgain(t *testing.T) {
	t.Parallel()
	clienttest.Program(t, "python3")
	s := newSite(t, "sqlite", "--listen", "127.0.0.1:"+clienttest.FreePort(t))
	state, ran := pythonHost(t, s, "py"), filepath.Join(s.dir, "ran")
	data, saved := filepath.Join(s.dir, "data"), filepath.Join(s.dir, "saved")
	id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--", "echo ran | tee -a "+ran+"; exit 5"))
	s.gate.stop()
	if err := os.CopyFS(saved, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(saved, "operators.key"), 0o600); err != nil { // CopyFS doesn't keep it private
		t.Fatal(err)
	}
	program, args := python(t, "run", "--state", state, "--once")
	once := func() {
		t.Helper()
		s.up()
		must(t, nil, program, args...)
		expect(t, "the job", must(t, s.env, "rexctl", "job", "show", id), "failed: exit 5")
		s.gate.stop()
	}
	once()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(saved, data); err != nil {
		t.Fatal(err)
	}
	once()
	if b, _ := os.ReadFile(ran); string(b) != "ran\n" {
		t.Errorf("it ran not once: %q", b)
	}
}

// TestPythonHostSmall keeps it an example that can be read at one go.
func TestPythonHostSmall(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(hostPy)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\n")); n > 200 {
		t.Errorf("%d lines", n)
	}
}
