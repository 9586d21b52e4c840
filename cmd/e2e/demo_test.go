package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// TestDemoOnce runs a script on the demo's three hosts, and ends with its status.
func TestDemoOnce(t *testing.T) {
	t.Parallel()
	out, errs, code := run(t, nil, "rexgate", "demo", "--once", "--", "echo out; echo err >&2")
	if code != 0 {
		t.Errorf("status %d", code)
	}
	for _, host := range []string{"alpha", "beta", "gamma"} {
		if !lineWith(out, host, "out") || !lineWith(errs, host, "err") {
			t.Errorf("host %s didn't say what it had to:\n%s%s", host, out, errs)
		}
	}
	if _, _, code := run(t, nil, "rexgate", "demo", "--once", "--", "exit 7"); code != 1 {
		t.Errorf("a failing script: status %d, not 1", code)
	}
	if _, _, code := run(t, nil, "rexgate", "demo", "two", "scripts"); code != 2 {
		t.Errorf("two scripts: status %d, not 2", code)
	}
}

// TestDemoStays tries what the demo offers to try, and ends it by Ctrl-C.
func TestDemoStays(t *testing.T) {
	t.Parallel()
	demo := start(t, nil, "rexgate", "demo")
	server := demo.err.waitFor(t, `export REXCTL_SERVER=(\S+)`)[1]
	token := demo.err.waitFor(t, `export REXCTL_TOKEN_FILE=(\S+)`)[1]
	demo.err.waitFor(t, `job list`)
	env := []string{"REXCTL_SERVER=" + server, "REXCTL_TOKEN_FILE=" + token}
	expect(t, "hosts", must(t, env, "rexctl", "host", "list"), "alpha", "beta", "gamma", "socket", "poll")
	expect(t, "output", must(t, env, "rexctl", "job", "run", "--host", "beta", "--", "echo again"), "again")
	demo.cmd.Process.Signal(syscall.SIGINT)
	if code := demo.wait(); code != 0 {
		t.Errorf("status %d after Ctrl-C", code)
	}
	if _, err := syscall.Open(token, syscall.O_RDONLY, 0); err == nil {
		t.Error("the demo's directory is still there")
	}
}

func lineWith(text string, parts ...string) bool {
	for line := range strings.Lines(text) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}
