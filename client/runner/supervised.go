package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Supervised runs each script under a supervisor process. The program that
// uses it must call Hook first in its main.
type Supervised struct {
	// Cgroups gives each script a cgroup of its own; nil = scripts have none. It is set before the first
	// use.
	Cgroups *Cgroups

	mu       sync.Mutex           // guards the following
	children map[string]*exec.Cmd // supervisors that this process started and let go of, by directory
	left     []string             // cgroups to be removed once they are empty
}

// cgroupOf names the cgroup of an execution; "" if it gets none.
func (r *Supervised) cgroupOf(dir string) string {
	if r.Cgroups == nil {
		return ""
	}
	return r.Cgroups.of(dir)
}

// New makes a runner that starts supervisors.
func New() *Supervised { return &Supervised{children: map[string]*exec.Cmd{}} }

var _ Runner = (*Supervised)(nil)

// startTimeout is how long a supervisor may take to start its script.
const startTimeout = time.Minute

// Start implements Runner. The directory's path must be absolute, and its parent exist.
func (r *Supervised) Start(ctx context.Context, dir string, spec Spec) (Process, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("runner: %q is not an absolute path", dir)
	}
	acc, err := LookupAccount(spec.User)
	if err != nil {
		return nil, err
	}
	if err := prepare(dir, acc); err != nil {
		return nil, err
	}
	cmd, err := r.spawn(dir, order{Version: stateVersion, Spec: spec, Account: acc, Cgroup: r.cgroupOf(dir)})
	if err != nil {
		return nil, err
	}
	r.adopt(dir, cmd)
	conn, err := dialCtl(dir)
	var first note
	if err == nil {
		// Whichever comes first, news or the end of ctx, ends the wait.
		stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck
		conn.SetReadDeadline(time.Now().Add(startTimeout))                               //nolint:errcheck
		first, err = readNote(conn)
		if !stop() {
			conn.Close()
			return nil, ctx.Err()
		}
		if err == nil {
			conn.SetReadDeadline(time.Time{}) //nolint:errcheck
			return r.follow(dir, conn, first), nil
		}
		conn.Close()
	}
	if !started(dir) {
		if err = r.failed(dir, err); !started(dir) { // not in the last moment either
			return nil, err
		}
	}
	return r.follow(dir, nil, note{}), nil // whatever happened is on disk
}

// started tells whether a supervisor got as far as to begin.
func started(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, stateName))
	return err == nil
}

// prepare makes the directory, such that the user can reach the script in it.
func prepare(dir string, acc Account) error {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever the umask
		return err
	}
	if !acc.Switch {
		return nil
	}
	obstacle, err := acc.reaches(filepath.Join(dir, scriptName))
	if err == nil && obstacle != "" {
		err = &RefusedError{fmt.Sprintf("user %q can't reach the script: %s is closed to it; use another state directory", acc.Name, obstacle)}
	}
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	return nil
}

// spawn starts a supervisor and gives it its order.
func (r *Supervised) spawn(dir string, o order) (*exec.Cmd, error) {
	listener, err := listenCtl(dir)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	ctl, err := listener.File()
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	defer in.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", // this very program, also when its file was replaced
		Args: []string{"rexagent", Verb, dir},
		Dir:  "/", Env: supervisorEnv(), Stdin: in, Stdout: log, Stderr: log,
		ExtraFiles:  []*os.File{ctl},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			err = errno
		}
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	in.Close()
	out.SetWriteDeadline(time.Now().Add(startTimeout)) //nolint:errcheck
	if err := json.NewEncoder(out).Encode(o); err != nil {
		// It starts nothing without its order. What it has to say is in its log.
		err = fmt.Errorf("instruct a supervisor: %w", err)
		return nil, errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()), logOf(dir))
	}
	return cmd, nil
}

// supervisorEnv is this program's environment, so that it finds its way to Hook as this
// one did; with little room for the runtime, since a supervisor mostly waits. Where this program was itself
// started by a script, the supervisors aren't of that.
func supervisorEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, executionVar+"=") })
	return append(env, "GOMAXPROCS=1") // the last one counts
}

func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

// logOf gives what a supervisor said before it died, as an error.
func logOf(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, logName))
	if text := strings.TrimSpace(string(b[:min(len(b), 1000)])); err == nil && text != "" {
		return errors.New(text)
	}
	return nil
}

// failed describes a supervisor that went without a trace of a start.
func (r *Supervised) failed(dir string, err error) error {
	if cmd := r.disown(dir); cmd != nil {
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		cmd.Wait()         //nolint:errcheck // how it ended says nothing more
	}
	if said := logOf(dir); said != nil {
		return fmt.Errorf("the supervisor failed: %w", said)
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it ended without a word")
	}
	return fmt.Errorf("the supervisor failed: %w", err)
}

func (r *Supervised) adopt(dir string, cmd *exec.Cmd) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.children[dir] = cmd
}

func (r *Supervised) disown(dir string) *exec.Cmd {
	r.mu.Lock()
	defer r.mu.Unlock()
	cmd := r.children[dir]
	delete(r.children, dir)
	return cmd
}

// Attach implements Runner.
func (r *Supervised) Attach(dir string) (Process, error) {
	seen, err := look(dir)
	if err != nil {
		return nil, err
	}
	switch seen.fate() {
	case noTrace:
		return nil, ErrNoTrace
	case runs:
		return r.follow(dir, seen.conn, note{}), nil
	}
	exit, err := seen.settle(dir, r.cgroupOf(dir))
	if err != nil {
		return nil, err
	}
	r.collect(dir)
	return ended(dir, exit), nil
}

// collect waits for a supervisor that this process started and that is at its end.
func (r *Supervised) collect(dir string) {
	if cmd := r.disown(dir); cmd != nil {
		cmd.Wait() //nolint:errcheck // the directory tells how it went
	}
}

// Remove implements Runner.
func (r *Supervised) Remove(dir string) error {
	st, err := readState(dir)
	if err == nil && st.Cgroup != "" {
		r.discard(st.Cgroup)
	}
	return os.RemoveAll(dir)
}

// discard removes a script's cgroup, once all that it left behind has ended. Those that were in use are
// tried again.
func (r *Supervised) discard(path string) {
	r.mu.Lock()
	paths := append(r.left, path)
	r.left = nil
	r.mu.Unlock()
	paths = slices.DeleteFunc(paths, func(path string) bool {
		err := cgroup{path}.remove()
		return !errors.Is(err, syscall.EBUSY) // with any other error it never will be
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, paths...)
}

func ended(dir string, e Exit) *follower {
	f := newFollower(dir, Status{Last: e.Seq - 1, Ended: true, Exit: e})
	f.cancel()
	close(f.done)
	return f
}

// follow makes a process of a connection to its supervisor; nil = to be made.
func (r *Supervised) follow(dir string, conn *net.UnixConn, first note) *follower {
	f := newFollower(dir, Status{Last: FirstSeq - 1})
	f.cgroup = r.cgroupOf(dir)
	go func() {
		defer close(f.done)
		if f.listen(conn, first) {
			r.collect(dir)
		}
	}()
	return f
}
