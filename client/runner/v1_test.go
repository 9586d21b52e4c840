package runner

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// testdata/v1 was written by the first version's supervisors: one execution that has ended, and one as it
// was found while it ran.

// v1 copies one of them, as if it was of this boot if boot is given, and its supervisor was sup.
func v1(t *testing.T, name, boot string, sup pid) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "x")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "v1", name))); err != nil {
		t.Fatal(err)
	}
	if boot != "" {
		path := filepath.Join(dir, stateName)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.Replace(b, []byte("aefca81e-bf00-4474-aa4f-3d18fee3ecb2"), []byte(boot), 1)
		b = bytes.Replace(b, []byte(`{"pid":12022,"start":1242155}`), []byte(`{"pid":`+strconv.Itoa(sup.PID)+`,"start":`+strconv.FormatUint(sup.Start, 10)+`}`), 1)
		b = bytes.Replace(b, []byte(`{"pid":12028,"start":1242156}`), []byte(`{"pid":0,"start":0}`), 1)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestV1Ended(t *testing.T) {
	dir := v1(t, "ended", "", pid{})
	p, err := New().Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := &running{p, t, dir, nil}
	want := Exit{Seq: 6, At: 1795353768100, Outcome: wire.Failed, ExitCode: 3, Bytes: 13}
	if s := p.Status(); s != (Status{Last: 5, Ended: true, Exit: want}) {
		t.Errorf("status %+v", s)
	}
	if fs := r.frames(); len(fs) != 4 || fs[0].Kind != Started || r.output(Stdout) != "one\ntwö\xff" || r.output(Stderr) != "bad\n" {
		t.Errorf("frames %+v", fs)
	}
	if err := p.Cancel(0); err != nil {
		t.Error(err)
	}
	if err := New().Remove(dir); err != nil || exists(dir) {
		t.Errorf("removed: %v, %v", !exists(dir), err)
	}
}

func TestV1Lost(t *testing.T) {
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	for _, boot := range []string{"", boot} {
		dir := v1(t, "running", boot, pid{1 << 22, 1})
		p, err := New().Attach(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := &running{p, t, dir, nil}
		if e := r.end(); e.Outcome != wire.Lost || e.Seq != 4 || e.Bytes != 6 || r.output(Stdout) != "begun\n" {
			t.Errorf("exit %+v, output %q", e, r.output(Stdout))
		}
		p.Close()
	}
}

// TestV1Running has a supervisor that speaks as the first version does: an agent that was upgraded under it
// follows it to its end.
func TestV1Running(t *testing.T) {
	boot, err := BootID()
	if err != nil {
		t.Fatal(err)
	}
	self, _, err := pidOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dir := v1(t, "running", boot, self)
	l, err := listenCtl(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New().Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := &running{p, t, dir, nil}
	send := func(kind byte, num int64) {
		t.Helper()
		if err := writeNote(conn, note{kind, num}); err != nil {
			t.Fatal(err)
		}
	}
	send('f', 3)
	r.shows(Stdout, "begun\n")
	// What it doesn't know of, it is told all the same, and takes no harm.
	heard := make(chan note, 2)
	go hearNotes(l, heard)
	if err := p.(Spooled).Allow(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := p.Cancel(0); err != nil {
		t.Fatal(err)
	}
	if room, cancel := <-heard, <-heard; room != (note{'r', 1 << 20}) || cancel != (note{'c', 0}) {
		t.Errorf("heard %+v, %+v", room, cancel)
	}
	if err := os.WriteFile(filepath.Join(dir, exitName), []byte(`{"seq":4,"at":5,"outcome":"cancelled","exit_code":-1,"signal":"SIGKILL","bytes":6}`), 0o600); err != nil {
		t.Fatal(err)
	}
	send('x', 3)
	if e := r.end(); e.Outcome != wire.Cancelled || e.Signal != "SIGKILL" {
		t.Errorf("exit %+v", e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// hearNotes takes a note from each connection, until there are no more.
func hearNotes(l net.Listener, heard chan<- note) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if n, err := readNote(c); err == nil {
			heard <- n
		}
		c.Close()
	}
}

// TestLaterSegment: what a later version wrote can't be read, and is a gap; the execution ends all the same.
func TestLaterSegment(t *testing.T) {
	dir := v1(t, "ended", "", pid{})
	path := filepath.Join(dir, segmentName(FirstSeq))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[4] = segmentVersion + 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New().Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	frames, err := p.Read(FirstSeq, 1000)
	if err != nil || len(frames) != 1 || frames[0].Kind != Missing || frames[0].Through != 5 || frames[0].Bytes != 13 {
		t.Errorf("%+v, %v", frames, err)
	}
}

// TestFormatsAreKept: what this version writes can be read by the first: a step back is an upgrade too.
func TestFormatsAreKept(t *testing.T) {
	if stateVersion != 1 || segmentVersion != 1 {
		t.Fatal("a later version needs a fixture of this one, like testdata/v1, and its tests")
	}
	if _, err := os.Stat("testdata/v1/running/exit"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the fixture of what runs has an exit")
	}
}
