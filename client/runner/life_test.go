package runner

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// family is a script with a child that heeds TERM, one that doesn't, and one
// that left the session; each writes its pid to a file.
func family(t *testing.T) (script string, pids func() []int) {
	dir := t.TempDir()
	script = strings.ReplaceAll(`
cd DIR
sh -c 'echo $$ > polite; exec sleep 1000' &
sh -c 'trap "" TERM; echo $$ > deaf; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM; echo $$ > away; while :; do sleep 0.1; done' &
echo $$ > main
while [ ! -s polite ] || [ ! -s deaf ] || [ ! -s away ]; do sleep 0.02; done
echo ready
wait
`, "DIR", dir)
	return script, func() (all []int) {
		for _, name := range []string{"main", "polite", "deaf", "away"} {
			all = append(all, pidIn(t, filepath.Join(dir, name)))
		}
		return all
	}
}

func TestCancelEndsAll(t *testing.T) {
	script, pids := family(t)
	r := start(t, spec(script))
	r.shows(Stdout, "ready")
	if err := r.Cancel(300 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	e := r.end()
	if e.Outcome != wire.Cancelled || e.Signal != "SIGTERM" {
		t.Errorf("exit %+v", e)
	}
	for _, p := range pids() {
		if _, ok := pidOf(p); ok {
			t.Errorf("process %d lives after the cancel was confirmed", p)
		}
	}
}

func TestTimeLimitEndsAll(t *testing.T) {
	script, pids := family(t)
	s := spec(script)
	s.RunTimeout, s.Grace = 2*time.Second, 200*time.Millisecond
	r := start(t, s)
	if e := r.end(); e.Outcome != wire.TimedOut {
		t.Errorf("exit %+v", e)
	}
	for _, p := range pids() {
		if _, ok := pidOf(p); ok {
			t.Errorf("process %d lives after the time limit", p)
		}
	}
}

func TestCancelOfTheStopped(t *testing.T) {
	r := start(t, spec("trap 'echo heeded; exit 3' TERM; echo ready; kill -STOP $$; while :; do sleep 0.05; done"))
	r.shows(Stdout, "ready")
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
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
	for _, attached := range []bool{true, false} {
		script, pids := family(t)
		r := start(t, spec(script))
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
		all := pids()
		for _, p := range all[:3] {
			waitGone(t, p)
		}
		syscall.Kill(all[3], syscall.SIGKILL) // a session of its own is beyond the reach of the dead
	}
}

func waitGone(t *testing.T, p int) {
	t.Helper()
	waitFor(t, func() bool { _, ok := pidOf(p); return !ok })
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

// TestTruthTable has the rows of the package comment that need no live process.
func TestTruthTable(t *testing.T) {
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	gone := pid{PID: 1 << 22, Start: 1}
	exit := &Exit{Seq: 3, Outcome: wire.Failed, ExitCode: 2}
	for _, c := range []struct {
		name  string
		exit  *Exit
		state *state
		want  wire.Outcome
		text  string
	}{
		{"nothing", nil, nil, "", "no trace"},
		{"exit only", exit, nil, wire.Failed, ""},
		{"exit and state", exit, &state{Version: 1, Boot: boot, Supervisor: gone}, wire.Failed, ""},
		{"exit, other boot", exit, &state{Version: 1, Boot: "other"}, wire.Failed, ""},
		{"other boot", nil, &state{Version: 1, Boot: "other", Supervisor: gone}, wire.Lost, "restarted"},
		{"same boot, dead", nil, &state{Version: 1, Boot: boot, Supervisor: gone}, wire.Lost, "killed"},
		{"pid reused", nil, &state{Version: 1, Boot: boot, Supervisor: pid{os.Getpid(), 1}}, wire.Lost, "killed"},
		{"newer version", nil, &state{Version: 2, Boot: boot}, "", "version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.state != nil {
				if err := writeState(dir, *c.state); err != nil {
					t.Fatal(err)
				}
			}
			if c.exit != nil {
				if err := writeExit(dir, *c.exit); err != nil {
					t.Fatal(err)
				}
			}
			p, err := New().Attach(dir)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Fatalf("%v, %v", p, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := p.Status(); !s.Ended || s.Exit.Outcome != c.want || !strings.Contains(s.Exit.Reason, c.text) {
				t.Errorf("status %+v", s)
			}
			p.Close()
		})
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

// TestDirectoryRemoved: a supervisor whose directory is gone ends with its script.
func TestDirectoryRemoved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	dir := place(t)
	p, err := New().Start(t.Context(), dir, spec("echo one; while [ ! -e "+file+" ]; do sleep 0.02; done; seq 1 400000"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	st, err := readState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	waitGone(t, st.Supervisor.PID)
	for !p.Status().Ended {
		<-p.Changed()
	}
	if x := p.Status().Exit; x.Outcome != wire.Lost {
		t.Errorf("exit %+v", x)
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
	for deadline := time.Now().Add(patience); p == nil; time.Sleep(time.Millisecond) {
		var err error
		if p, err = r.Attach(dir); err != nil && (!errors.Is(err, ErrNoTrace) || time.Now().After(deadline)) {
			t.Fatal(err)
		}
	}
	run := &running{p, t, dir, r}
	if e := run.end(); e.Outcome != wire.Succeeded || run.output(Stdout) != "anyway\n" {
		t.Errorf("exit %+v", e)
	}
	run.Close()
}

// TestDamagedFrames: what can't be read is a gap with its size, and what follows is
// there.
func TestDamagedFrames(t *testing.T) {
	dir := t.TempDir()
	w := newSegmentWriter(dir)
	line := bytes.Repeat([]byte("x"), 8000)
	for range 300 {
		if err := w.append(1, Stdout, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	last := w.next - 1
	segs, err := listSegments(dir)
	if err != nil || len(segs) != 3 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}
	flip(t, segs[0].path, 3*8025+100)
	if err := os.Remove(segs[2].path); err != nil {
		t.Fatal(err)
	}
	s := &spool{dir: dir}
	var gaps []Frame
	var bytes int64
	from := int64(FirstSeq)
	for from <= last {
		fs, err := s.read(from, last, 20_000, 300*8000)
		if err != nil || len(fs) == 0 {
			t.Fatalf("read %d: %d frames, %v", from, len(fs), err)
		}
		for _, f := range fs {
			if f.Seq != from {
				t.Fatalf("frame %d where %d is due", f.Seq, from)
			}
			bytes += int64(len(f.Data)) + f.Bytes
			from++
			if f.Kind == Missing {
				gaps = append(gaps, f)
				from = f.Through + 1
			}
		}
	}
	if len(gaps) != 2 || gaps[0].Seq != 5 || gaps[0].Through != segs[1].first-1 || gaps[1].Seq != segs[2].first || gaps[1].Through != last || bytes != 300*8000 {
		t.Errorf("gaps %+v, %d bytes", gaps, bytes)
	}
	// A reader that begins in the middle finds the same.
	if fs, err := (&spool{dir: dir}).read(segs[1].first+3, last, 1, -1); err != nil || len(fs) != 1 || fs[0].Seq != segs[1].first+3 {
		t.Errorf("from the middle: %d frames, %v", len(fs), err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestTornTail: frames cut at every byte are either whole or not there.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	w := newSegmentWriter(dir)
	for i := range 4 {
		if err := w.append(1, Stdout, []byte("line "+strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, segmentName(FirstSeq))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := (len(whole) - segmentHead) / 4
	for cut := len(whole); cut >= 0; cut-- {
		if err := os.Truncate(path, int64(cut)); err != nil {
			t.Fatal(err)
		}
		want := int64(FirstSeq - 1 + max(cut-segmentHead, 0)/size)
		if last, _, err := (&spool{dir: dir}).count(); err != nil || last != want {
			t.Fatalf("cut at %d: last %d, %v; want %d", cut, last, err, want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(appendFrame(nil, Frame{Seq: 2, At: 3, Kind: Stdout, Data: []byte("hello")}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := parseFrame(b)
		if err == nil && !bytes.Equal(appendFrame(nil, fr), b[:n]) {
			t.Errorf("%+v doesn't encode to what it was read from", fr)
		}
	})
}
