package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests; what is waited for comes much sooner.
const patience = 2 * time.Minute

// bin is the folder with the built programs.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rexgate-e2e-")
	if err != nil {
		panic(err)
	}
	bin = dir
	// The programs get the race detector wherever it works.
	args := []string{"build", "-race", "-o", dir + "/", "../rexgate", "../rexagent", "../rexctl"}
	if _, err := exec.LookPath("gcc"); err != nil {
		args = append(args[:1], args[2:]...)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go %s: %v\n%s", strings.Join(args, " "), err, out)
		os.Exit(1)
	}
	status := m.Run()
	stopBrowser()
	os.RemoveAll(dir)
	os.Exit(status)
}

// proc is a running program.
type proc struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  *watched
	err  *watched
	done chan struct{} // closed when it has ended
	code int           // its exit status, after done
}

// start starts a program, and ends it with the test.
func start(t *testing.T, env []string, name string, args ...string) *proc {
	t.Helper()
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(bin, name)
	}
	p := &proc{t: t, name: filepath.Base(name), cmd: exec.Command(path, args...), out: newWatched(), err: newWatched(), done: make(chan struct{})}
	p.cmd.Env = append(cleanEnv(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.WaitDelay = 10 * time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
		if err != nil && p.code == 0 {
			p.code = -1
		}
		p.out.close()
		p.err.close()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		for _, sign := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(p.err.String(), sign) {
				t.Errorf("%s: %s:\n%s", p.name, sign, p.err)
			}
		}
		if t.Failed() {
			t.Logf("%s %q, status %d\nstdout:\n%s\nstderr:\n%s", p.name, args, p.code, p.out, p.err)
		}
	})
	return p
}

// cleanEnv is the environment without settings that could leak into a test.
func cleanEnv() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"} // or each program takes a second to exit
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "REX") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// stop ends the program in good order if it can, and waits.
func (p *proc) stop() {
	select {
	case <-p.done:
		return
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(40 * time.Second):
		p.t.Errorf("%s didn't end at SIGTERM", p.name)
		p.kill()
	}
}

// kill ends it at once, and waits.
func (p *proc) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// wait gives the exit status.
func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s is still running", p.name)
	}
	return p.code
}

// run runs a program to its end.
func run(t *testing.T, env []string, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := start(t, env, name, args...)
	code = p.wait()
	return p.out.String(), p.err.String(), code
}

// must is run for what has to succeed; it gives stdout.
func must(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, errs, code := run(t, env, name, args...)
	if code != 0 {
		t.Fatalf("%s %q: status %d\n%s%s", name, args, code, out, errs)
	}
	return out
}

// watched keeps what is written, and lets others wait for it.
type watched struct {
	mu      sync.Mutex // guards the following
	buf     bytes.Buffer
	closed  bool
	changed chan struct{}
}

func newWatched() *watched { return &watched{changed: make(chan struct{})} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	close(w.changed)
	w.changed = make(chan struct{})
	return len(b), nil
}

func (w *watched) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// waitFor waits until the pattern is in what was written, and gives its groups.
func (w *watched) waitFor(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		w.mu.Lock()
		text, changed, closed := w.buf.String(), w.changed, w.closed
		w.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		if closed {
			t.Fatalf("it ended without %q; it wrote:\n%s", pattern, text)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%q didn't come; it wrote:\n%s", pattern, text)
		}
	}
}
