package stand

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process that this package started.
type child struct {
	name string // for people: "gateway 2"
	cmd  *exec.Cmd
	out  *output
	err  *output
	done chan struct{} // closed when it has ended
	end  error         // how it ended, after done
}

// startChild starts a program. It leads a process group of its own, so that a Ctrl-C on the terminal
// doesn't end it before its time; it is killed when this process ends.
func startChild(name, path string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path, args...), out: newOutput(), err: newOutput(), done: make(chan struct{})}
	c.cmd.Env = cleanEnv(os.Environ())
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.err
	// A process that the child forked may hold its output open.
	c.cmd.WaitDelay = 2 * time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel means the thread that started the child when it speaks of its parent's
		// death: this one has to stay as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.end = c.cmd.Wait()
		c.out.close()
		c.err.close()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// cleanEnv leaves out settings and proxies that would leak into a run.
func cleanEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "REXGATE_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		kept = append(kept, kv)
	}
	return kept
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// running tells whether it hasn't ended.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// stop asks it to end and waits; when ctx ends, it is killed. The error says that it had to be, or that
// it had ended by itself before, or with a bad status.
func (c *child) stop(ctx context.Context) error {
	if !c.running() {
		return c.failure("ended before its time")
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-ctx.Done():
		_ = c.cmd.Process.Kill()
		<-c.done
		return c.failure("didn't end in time and was killed")
	}
	if c.end != nil {
		return c.failure("ended badly")
	}
	return nil
}

// failure is an error with the last that the process wrote. It has ended.
func (c *child) failure(what string) error {
	state := "status 0"
	if c.end != nil {
		state = c.end.Error()
	}
	text := strings.TrimSpace(c.out.String() + c.err.String())
	if text == "" {
		return fmt.Errorf("%s %s (%s); it wrote nothing", c.name, what, state)
	}
	return fmt.Errorf("%s %s (%s); it wrote at last:\n%s", c.name, what, state, text)
}

// await waits until the pattern is in what the process writes to stdout, and gives its groups.
func (c *child) await(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		text, changed, closed := c.out.state()
		if m := re.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		if closed {
			<-c.done
			return nil, c.failure("ended at its start")
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s isn't ready: %w; it wrote:\n%s%s", c.name, context.Cause(ctx), text, c.err)
		}
	}
}

// maxOutput bounds what is kept of a process's output.
const maxOutput = 64 << 10

// output keeps the last that a process wrote, and lets others wait for more.
type output struct {
	mu      sync.Mutex // guards what follows
	text    []byte
	closed  bool
	changed chan struct{} // closed, and made anew, at each change
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write never fails: a process isn't held by what isn't kept.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if over := len(o.text) - maxOutput; over > 0 {
		o.text = append(o.text[:0], o.text[over:]...)
	}
	o.tell()
	return len(b), nil
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.tell()
}

// tell wakes who waits. mu is held.
func (o *output) tell() {
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *output) state() (text string, changed <-chan struct{}, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text), o.changed, o.closed
}

func (o *output) String() string {
	text, _, _ := o.state()
	return text
}

// program finds a program by its name or path; Debian keeps servers where users don't search.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") {
		return path, err
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}
