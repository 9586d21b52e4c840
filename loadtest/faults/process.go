package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that is started, killed and started again. It dies with the suite.
type process struct {
	name string
	path string
	args []string
	env  []string // besides the suite's own
	log  string   // file of what it writes, of all its lives
	// attach, if set, gets the pipes of each life; without it standard output goes to the log.
	attach func(in io.WriteCloser, out io.Reader)

	mu   sync.Mutex // guards the following
	cmd  *exec.Cmd
	done chan struct{} // closed when this life is over
	end  error         // readable after done
}

// start begins a new life; the one before must be over.
func (p *process) start() error {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(cleanEnv(), p.env...)
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	var in io.WriteCloser
	var out io.ReadCloser
	if p.attach == nil {
		cmd.Stdout = log
	} else if in, err = cmd.StdinPipe(); err != nil {
		return err
	} else if out, err = cmd.StdoutPipe(); err != nil {
		return err
	}
	done, started := make(chan struct{}), make(chan error)
	go func() {
		// The kernel means this thread when it speaks of the parent's death.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if p.attach != nil {
			p.attach(in, out) // reads to the end
		}
		end := cmd.Wait()
		p.mu.Lock()
		p.end = end
		p.mu.Unlock()
		close(done)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd, p.done = cmd, done
	return nil
}

// cleanEnv is the environment without settings and proxies that would leak into a run.
func cleanEnv() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "REX") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		env = append(env, kv)
	}
	return env
}

// life gives what there is of the present life.
func (p *process) life() (cmd *exec.Cmd, done chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd, p.done
}

func (p *process) running() bool {
	_, done := p.life()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (p *process) pid() int {
	cmd, _ := p.life()
	if cmd == nil {
		return 0
	}
	return cmd.Process.Pid
}

// signal sends to the process, if it is there.
func (p *process) signal(s syscall.Signal) error {
	cmd, _ := p.life()
	if cmd == nil {
		return os.ErrProcessDone
	}
	return cmd.Process.Signal(s)
}

// freeze stops it, and waits until none of its threads does anything, calls of the kernel included: what fails afterwards doesn't fail in the
// middle of a sync, of which it isn't known then whether it was one. It is false if the process isn't there.
func (p *process) freeze(ctx context.Context) bool {
	if !p.running() || p.signal(syscall.SIGSTOP) != nil {
		return false
	}
	for {
		moving := false
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.pid()))
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			if i := bytes.LastIndexByte(b, ')'); i >= 0 && i+2 < len(b) && b[i+2] != 'T' && b[i+2] != 'Z' && b[i+2] != 'X' {
				moving = true
			}
		}
		if !moving {
			return p.running()
		}
		if pause(ctx, time.Millisecond) != nil {
			return false
		}
	}
}

// kill ends it at once, stopped or not, and waits until it is gone.
func (p *process) kill() {
	cmd, done := p.life()
	if cmd == nil {
		return
	}
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-done
}

// stop asks it to end, and waits; it is an error if it had to be killed, or ended badly.
func (p *process) stop(ctx context.Context) error {
	if !p.running() {
		return fmt.Errorf("%s had ended before: %w", p.name, errOr(p.ended()))
	}
	_, done := p.life()
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-done:
	case <-ctx.Done():
		p.signal(syscall.SIGQUIT) //nolint:errcheck // it is killed below
		select {
		case <-done:
		case <-time.After(2 * time.Second):
		}
		p.kill()
		return fmt.Errorf("%s didn't end when it was told to", p.name)
	}
	if err := p.ended(); err != nil {
		return fmt.Errorf("%s ended badly: %w", p.name, err)
	}
	return nil
}

func (p *process) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func errOr(err error) error {
	if err == nil {
		return errors.New("status 0")
	}
	return err
}

// faultsInLogs gives what must not be in what processes wrote.
func faultsInLogs(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(b)) {
			for _, sign := range []string{"DATA RACE", "panic: ", "fatal error: ", "repaired a difference"} {
				if strings.Contains(line, sign) {
					found = append(found, filepath.Base(f)+": "+strings.TrimSpace(line))
				}
			}
		}
	}
	return found, nil
}
