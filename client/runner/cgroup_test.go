package runner

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// TestCgroupPerScript: a script is in a cgroup of its own from its beginning, its supervisor and the agent in another,
// and nothing is left of it afterwards.
func TestCgroupPerScript(t *testing.T) {
	runner := contained(t)
	r := startWith(t, runner, spec("#!/bin/sh\ngrep ^0:: /proc/self/cgroup\nexec sleep 1000"))
	r.shows(Stdout, "\n")
	path := runner.Cgroups.of(r.dir)
	if got, want := r.output(Stdout), "/"+filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("the script is in %q, not in %q", got, want)
	}
	st, err := readState(r.dir)
	if err != nil || st.Cgroup != path {
		t.Fatalf("state %+v, %v", st, err)
	}
	if in := members(t, path); len(in) != 1 || in[0] != st.Script.PID {
		t.Errorf("in the script's cgroup: %v, the script is %d", in, st.Script.PID)
	}
	leaf := members(t, filepath.Join(runner.Cgroups.root, leafName))
	for _, p := range []int{os.Getpid(), st.Supervisor.PID} {
		if !contains(leaf, p) {
			t.Errorf("%d isn't in the agent's cgroup: %v", p, leaf)
		}
	}
	if in := members(t, runner.Cgroups.root); len(in) != 0 {
		t.Errorf("beside the cgroups below: %v", in)
	}
	if err := r.Cancel(0); err != nil {
		t.Fatal(err)
	}
	if e := r.end(); e.Outcome != wire.Cancelled || exists(path) {
		t.Errorf("exit %+v; the cgroup is there: %v", e, exists(path))
	}
	// Of what couldn't be executed nothing is left either.
	r = startWith(t, runner, spec("#!/none/such\n"))
	if e := r.end(); e.Outcome != wire.Failed || !strings.Contains(e.Reason, "/none/such doesn't exist") || exists(runner.Cgroups.of(r.dir)) {
		t.Errorf("exit %+v", e)
	}
}

// TestEscape: neither who leaves the cgroup, nor who hides from its ancestors and its environment, survives a cancel.
func TestEscape(t *testing.T) {
	runner := contained(t)
	dir := t.TempDir()
	r := startWith(t, runner, spec(strings.NewReplacer("DIR", dir, "ROOT", runner.Cgroups.root).Replace(`#!/bin/sh
cd DIR
mkdir ROOT/elsewhere
(env -i setsid sh -c 'echo $$ > left; echo $$ > ROOT/elsewhere/cgroup.procs; trap "" TERM; while [ -d DIR ]; do sleep 0.1; done' &)
python3 -c '
import ctypes, os, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) # a subreaper
if not os.fork():
    os.setsid()
    open("hidden", "w").write(str(os.getpid()))
    time.sleep(1000)
' &
mkdir $(sed -n 's,^0::.*/,ROOT/,p' /proc/self/cgroup)/inner
for f in left hidden; do while [ ! -s $f ]; do sleep 0.02; done; done
echo ready
wait; sleep 1000
`)))
	r.shows(Stdout, "ready")
	if err := r.Cancel(0); err != nil {
		t.Fatal(err)
	}
	if e := r.end(); e.Outcome != wire.Cancelled {
		t.Errorf("exit %+v", e)
	}
	for _, name := range []string{"left", "hidden"} {
		if p := pidIn(t, filepath.Join(dir, name)); lives(t, p) {
			t.Errorf("%s (%d) lives", name, p)
		}
	}
	if path := runner.Cgroups.of(r.dir); exists(path) {
		t.Errorf("%s is left, with what the script made below it", path)
	}
}

// TestUnreachableOrphan: with its supervisor killed, only the cgroup still knows of a process without
// the script's environment, group and ancestors.
func TestUnreachableOrphan(t *testing.T) {
	runner := contained(t)
	dir := t.TempDir()
	r := startWith(t, runner, spec("cd "+dir+"; (env -i setsid sh -c 'echo $$ > away; exec sleep 1000' &); while [ ! -s away ]; do sleep 0.02; done; echo ready; sleep 1000"))
	r.shows(Stdout, "ready")
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(st.Supervisor.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := r.end(); e.Outcome != wire.Lost {
		t.Errorf("exit %+v", e)
	}
	if p := pidIn(t, filepath.Join(dir, "away")); lives(t, p) || exists(st.Cgroup) {
		t.Errorf("%d lives: %v; the cgroup is there: %v", p, lives(t, p), exists(st.Cgroup))
	}
}

// TestLeftBehind: what a script leaves behind runs on when it has ended by itself, also if it holds the script's
// pipe; its cgroup is removed once that is empty.
func TestLeftBehind(t *testing.T) {
	eachWay(t, func(t *testing.T, runner *Supervised) {
		file := filepath.Join(t.TempDir(), "pid")
		r := startWith(t, runner, spec("sleep 1000 & echo $! > "+file+"; (sleep 0.2; echo soon) & echo end"))
		if e := r.end(); e.Outcome != wire.Succeeded || r.output(Stdout) != "end\nsoon\n" {
			t.Errorf("exit %+v, output %q", e, r.output(Stdout))
		}
		left := pidIn(t, file)
		if !lives(t, left) {
			t.Error("what the script left behind was killed")
		}
		st, err := readState(r.dir)
		if err != nil {
			t.Fatal(err)
		}
		remove := func() {
			t.Helper()
			r.Close()
			if err := runner.Remove(r.dir); err != nil {
				t.Fatal(err)
			}
		}
		remove()
		if !lives(t, left) {
			t.Error("it was killed when the directory was removed")
		}
		if runner.Cgroups != nil {
			if in := members(t, st.Cgroup); len(in) != 1 || in[0] != left {
				t.Errorf("in the cgroup: %v", in)
			}
			// Another agent comes: what is in use stays.
			if err := runner.Cgroups.sweep(); err != nil || !exists(st.Cgroup) {
				t.Errorf("the cgroup is there: %v, %v", exists(st.Cgroup), err)
			}
		}
		if err := syscall.Kill(left, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitGone(t, left)
		if runner.Cgroups != nil {
			r = startAt(t, runner, place(t)+"2", spec("true"))
			r.end()
			if remove(); exists(st.Cgroup) {
				t.Error("the empty cgroup is left")
			}
		}
	})
}

// TestSweep: an agent removes what earlier ones left, and nothing of others.
func TestSweep(t *testing.T) {
	root := delegated(t)
	c := cgroups(t, root)
	empty, nested, others := c.of("/x/job.a"), c.of("/x/job.b"), filepath.Join(root, scriptPrefix+"00000000-job.c")
	for _, dir := range []string{empty, filepath.Join(nested, "inner"), others} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openCgroups(root, "/x/"); err != nil {
		t.Fatal(err)
	}
	if exists(empty) || exists(nested) || !exists(others) {
		t.Errorf("there: %v, %v, %v", exists(empty), exists(nested), exists(others))
	}
	if err := os.Remove(others); err != nil {
		t.Fatal(err)
	}
}

// TestCgroupRefused: where a process can't be started in a cgroup, an agent finds that out when it begins, and
// a supervisor does without.
func TestCgroupRefused(t *testing.T) {
	if _, err := openCgroups(t.TempDir(), "/x"); err == nil {
		t.Error("a directory that is no cgroup is taken for one")
	}
	runner := New()
	runner.Cgroups = &Cgroups{root: t.TempDir(), tag: "0"}
	script, pids := family(t)
	r := startWith(t, runner, spec(script))
	r.shows(Stdout, "ready")
	if st, err := readState(r.dir); err != nil || st.Cgroup != "" {
		t.Errorf("state %+v, %v", st, err)
	}
	if said := logOf(r.dir); said == nil || !strings.Contains(said.Error(), "cgroup") {
		t.Errorf("its log: %v", said)
	}
	if err := r.Cancel(0); err != nil {
		t.Fatal(err)
	}
	r.end()
	for _, p := range pids() {
		if lives(t, p) {
			t.Errorf("%d lives", p)
		}
	}
}

// ownVar has the test's program take its cgroup, and say which.
const ownVar = "RUNNER_TEST_OWN_CGROUP"

func ownAndExit() {
	c, err := OwnCgroups("/x")
	if err != nil {
		println("refused: " + err.Error())
		os.Exit(0)
	}
	b, _ := os.ReadFile("/proc/self/cgroup")
	println(c.root + "\n" + string(b))
	os.Exit(0)
}

// TestOwnCgroups: what was delegated is taken, by the next agent too, which is in the leaf already; anything
// else is left alone.
func TestOwnCgroups(t *testing.T) {
	root := delegated(t)
	leaf := filepath.Join(root, leafName)
	own := func(in string) string {
		t.Helper()
		dir, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), ownVar+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, in := range []string{root, leaf} {
		if out := own(in); !strings.HasPrefix(out, root+"\n") || !strings.HasSuffix(strings.TrimSpace(out), "/"+filepath.Base(root)+"/"+leafName) {
			t.Errorf("in %s: %s", in, out)
		}
	}
	other := filepath.Join(root, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	if out := own(other); !strings.Contains(out, "wasn't delegated") || !strings.Contains(out, "Delegate=yes") {
		t.Errorf("one that isn't delegated: %s", out)
	}
}
