package runner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// family is a script with a child that heeds TERM, one that doesn't, one
// that left the session, and a daemon: it left the session, its parent and the pipes; each writes its pid to a file.
// Whatever becomes of the test, they end with its directory.
func family(t *testing.T) (script string, pids func() []int) {
	dir := t.TempDir()
	script = strings.ReplaceAll(`
cd DIR
sh -c 'echo $$ > polite; exec sleep 1000' &
sh -c 'trap "" TERM; echo $$ > deaf; while [ -d DIR ]; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; echo $$ > away; while [ -d DIR ]; do sleep 0.1; done' &
(setsid sh -c 'trap "" TERM HUP; echo $$ > daemon; while [ -d DIR ]; do sleep 0.1; done' >/dev/null 2>&1 &)
echo $$ > main
for f in polite deaf away daemon; do while [ ! -s $f ]; do sleep 0.02; done; done
echo ready
wait
`, "DIR", dir)
	return script, func() (all []int) {
		for _, name := range []string{"main", "polite", "deaf", "away", "daemon"} {
			all = append(all, pidIn(t, filepath.Join(dir, name)))
		}
		return all
	}
}

func TestCancelEndsAll(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		script, pids := family(t)
		r := startWith(t, runner, spec(script))
		r.shows(Stdout, "ready")
		if err := r.Cancel(300 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
		e := r.end()
		if e.Outcome != wire.Cancelled || e.Signal != "SIGTERM" {
			t.Errorf("exit %+v", e)
		}
		for _, p := range pids() {
			if lives(t, p) {
				t.Errorf("process %d lives after the cancel was confirmed", p)
			}
		}
	})
}

func TestTimeLimitEndsAll(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		for limit := time.Second; ; limit *= 2 {
			script, pids := family(t)
			s := spec(script)
			s.RunTimeout, s.Grace = limit, 200*time.Millisecond
			r := startWith(t, runner, s)
			if e := r.end(); e.Outcome != wire.TimedOut {
				t.Errorf("exit %+v", e)
			}
			if r.output(Stdout) == "" && limit < patience {
				continue // this machine does much else: not all of them had begun
			}
			for _, p := range pids() {
				if lives(t, p) {
					t.Errorf("process %d lives after the time limit", p)
				}
			}
			return
		}
	})
}

// TestEndAll: what a script leaves behind is ended if that is asked for, and the exit is the script's own.
func TestEndAll(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		script, pids := family(t)
		s := spec(strings.Replace(script, "wait\n", "exit 7\n", 1))
		s.EndAll, s.Grace = true, 200*time.Millisecond
		r := startWith(t, runner, s)
		if e := r.end(); e.Outcome != wire.Failed || e.ExitCode != 7 || r.output(Stdout) != "ready\n" {
			t.Errorf("exit %+v, output %q", e, r.output(Stdout))
		}
		for _, p := range pids() {
			if lives(t, p) {
				t.Errorf("process %d lives after the end of all", p)
			}
		}
	})
}

// TestForkers: processes that fork faster than they can be listed are ended too.
func TestForkers(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		s := spec(`#!/usr/bin/env python3
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
begin = time.time()
if os.fork():
    time.sleep(1000)
print("ready", flush=True)
while time.time() - begin < 60: # each lives for a moment only, in a session of its own
    if os.fork():
        os._exit(0)
    os.setsid()
`)
		s.Execution = "forkers." + strconv.Itoa(os.Getpid())
		r := startWith(t, runner, s)
		r.shows(Stdout, "ready")
		if err := r.Cancel(0); err != nil {
			t.Fatal(err)
		}
		if e := r.end(); e.Outcome != wire.Cancelled {
			t.Errorf("exit %+v", e)
		}
		if left, err := orphans(state{Execution: s.Execution}); err != nil || len(left) > 0 {
			t.Errorf("left: %+v, %v", left, err)
		}
	})
}

func TestCancelOfTheStopped(t *testing.T) {
	r := start(t, spec("trap 'echo heeded; exit 3' TERM; echo ready; kill -STOP $$; while :; do sleep 0.05; done"))
	r.shows(Stdout, "ready")
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	clienttest.Until(t, "the script is stopped", func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(st.Script.PID) + "/stat")
		return err == nil && strings.Contains(string(b), ") T ")
	})
	if err := r.Cancel(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if e := r.end(); e.Outcome != wire.Cancelled || e.ExitCode != 3 || r.output(Stdout) != "ready\nheeded\n" {
		t.Errorf("exit %+v, output %q", e, r.output(Stdout))
	}
	if err := r.Cancel(0); err != nil {
		t.Errorf("cancel of what has ended: %v", err)
	}
}

func TestCancelHurried(t *testing.T) {
	r := start(t, spec("trap '' TERM; echo ready; while :; do sleep 0.05; done"))
	r.shows(Stdout, "ready")
	for _, grace := range []time.Duration{time.Hour, 0} {
		if err := r.Cancel(grace); err != nil {
			t.Fatal(err)
		}
	}
	if e := r.end(); e.Outcome != wire.Cancelled || e.Signal != "SIGKILL" {
		t.Errorf("exit %+v", e)
	}
}

func lives(t *testing.T, p int) bool {
	t.Helper()
	_, ok, err := pidOf(p)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func waitGone(t *testing.T, p int) {
	t.Helper()
	clienttest.Until(t, strconv.Itoa(p)+" is gone", func() bool { return !lives(t, p) })
}
