package runner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// TestAttach: a second agent goes on where the first let go, and what was
// printed meanwhile isn't missed.
func TestAttach(t *testing.T) {
	dir := t.TempDir()
	r := start(t, spec("echo one; while [ ! -e "+dir+"/a ]; do sleep 0.02; done; echo two; while [ ! -e "+dir+"/b ]; do sleep 0.02; done; echo three"))
	r.shows(Stdout, "one")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch("a")
	p, err := r.runner.Attach(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	again := &running{p, t, r.dir, r.runner}
	again.shows(Stdout, "one\ntwo\n")
	touch("b")
	if e := again.end(); e.Outcome != wire.Succeeded || again.output(Stdout) != "one\ntwo\nthree\n" {
		t.Errorf("exit %+v, output %q", e, again.output(Stdout))
	}
	again.Close()
	// And once more, to what has ended.
	p, err = r.runner.Attach(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	last := &running{p, t, r.dir, r.runner}
	if s := p.Status(); !s.Ended || s.Exit.Outcome != wire.Succeeded || last.output(Stdout) != "one\ntwo\nthree\n" {
		t.Errorf("status %+v", s)
	}
	r.Process = p // for the cleanup
	if err := r.runner.Remove(r.dir); err != nil {
		t.Error(err)
	}
	if _, err := r.runner.Attach(r.dir); !errors.Is(err, ErrNoTrace) {
		t.Errorf("after Remove: %v", err)
	}
}

// TestSupervisorKilled: the script doesn't run on unsupervised, and what it had
// printed is kept.
func TestSupervisorKilled(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		for _, attached := range []bool{true, false} {
			script, pids := family(t)
			r := startWith(t, runner, spec(script))
			r.shows(Stdout, "ready")
			st, err := readState(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			if !attached {
				r.Close()
			}
			if err := syscall.Kill(st.Supervisor.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if !attached {
				waitGone(t, st.Supervisor.PID)
				if r.Process, err = r.runner.Attach(r.dir); err != nil {
					t.Fatal(err)
				}
			}
			e := r.end()
			if e.Outcome != wire.Lost || !strings.Contains(e.Reason, "supervisor was killed") || e.Seq != 4 || r.output(Stdout) != "ready\n" {
				t.Errorf("exit %+v, output %q", e, r.output(Stdout))
			}
			for _, p := range pids() {
				if lives(t, p) {
					t.Errorf("process %d lives on unsupervised", p)
				}
			}
		}
	})
}

// TestAttachAtTheEnd: whoever looks while a supervisor ends finds it running or ended, never lost.
func TestAttachAtTheEnd(t *testing.T) {
	for range 10 {
		r := start(t, spec("true"))
		for ended := false; !ended; {
			p, err := r.runner.Attach(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			s := p.Status()
			if ended = s.Ended; ended && s.Exit.Outcome != wire.Succeeded {
				t.Fatalf("exit %+v", s.Exit)
			}
			p.Close()
		}
	}
}

// TestStoppedSupervisor: while it doesn't answer it isn't dead.
func TestStoppedSupervisor(t *testing.T) {
	r := start(t, spec("echo one; exec sleep 1000"))
	r.shows(Stdout, "one")
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.Supervisor.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p, err := r.runner.Attach(r.dir)
	if err != nil || p.Status().Ended {
		t.Errorf("%v, %v", p, err)
	}
	p.Close()
	if err := syscall.Kill(st.Supervisor.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestReattachedAfterDrop: a supervisor whose connection broke is called again.
func TestReattachedAfterDrop(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	r := start(t, spec("while [ ! -e "+file+" ]; do sleep 0.02; done; echo on"))
	conn, err := dialCtl(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	f := newFollower(r.dir, Status{Last: 1})
	heard := make(chan bool)
	conn.Close() // as if it broke
	go func() { heard <- f.listen(conn, note{}) }()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !<-heard || f.Status().Exit.Outcome != wire.Succeeded {
		t.Errorf("status %+v", f.Status())
	}
}

// TestDirectoryRemoved: a supervisor whose directory is gone ends with its script, and leaves
// alone what has taken its place.
func TestDirectoryRemoved(t *testing.T) {
	for name, replace := range map[string]func(dir string) error{
		"gone":       func(string) error { return nil },
		"made again": func(dir string) error { return os.Mkdir(dir, 0o755) },
		"a file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o600))
		},
	} {
		for _, script := range []string{"true", "seq 1 400000", "sleep 1000 &"} {
			t.Run(name+" "+script, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "go")
				dir := place(t)
				s := spec("echo one; while [ ! -e " + file + " ]; do sleep 0.02; done; " + script)
				if script == "sleep 1000 &" { // ended by its time limit, with its child
					s.RunTimeout = time.Second
					s.Script = append(s.Script, "\nwait"...)
				}
				p, err := New().Start(t.Context(), dir, s)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				st, err := readState(dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.RemoveAll(dir), replace(dir), os.WriteFile(file, nil, 0o600)); err != nil {
					t.Fatal(err)
				}
				waitGone(t, st.Supervisor.PID)
				if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
					t.Errorf("wrote %v", left)
				}
				if name != "gone" {
					return
				}
				for !p.Status().Ended {
					<-p.Changed()
				}
				if x := p.Status().Exit; x.Outcome != wire.Lost {
					t.Errorf("exit %+v", x)
				}
			})
		}
	}
}

func TestStartTwiceInOnePlace(t *testing.T) {
	r := start(t, spec("echo once"))
	r.end()
	if _, err := r.runner.Start(context.Background(), r.dir, spec("echo twice")); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second start: %v", err)
	}
}

func TestStartGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := New()
	dir := place(t)
	if _, err := r.Start(ctx, dir, spec("echo anyway")); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	// Whatever it became, it is found, once the supervisor has got that far.
	var p Process
	clienttest.Until(t, "the script has left a trace", func() bool {
		var err error
		if p, err = r.Attach(dir); err != nil && !errors.Is(err, ErrNoTrace) {
			t.Fatal(err)
		}
		return err == nil
	})
	run := &running{p, t, dir, r}
	if e := run.end(); e.Outcome != wire.Succeeded || run.output(Stdout) != "anyway\n" {
		t.Errorf("exit %+v", e)
	}
	run.Close()
}
