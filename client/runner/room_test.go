package runner

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// onDisk is what the segments of a directory take.
func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	segs, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range segs {
		if info, err := os.Stat(g.path); err == nil {
			n += info.Size()
		}
	}
	return n
}

func numbers(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// TestFullSpool: a script that prints more than its spool may have waits until what was read is
// removed; nothing is lost, and the bound is kept all the way.
func TestFullSpool(t *testing.T) {
	const room = 400_000
	s := spec("seq 1 200000")
	s.SpoolLimit = room
	r := start(t, s)
	trim := r.Process.(Spooled)
	var got strings.Builder
	waited := 0
	for next := int64(FirstSeq); ; {
		st := r.until(func(s Status) bool { return s.Full || s.Ended || s.Last >= next })
		if n := onDisk(t, r.dir); n > room {
			t.Fatalf("%d bytes on disk", n)
		}
		if st.Ended && next > st.Last {
			break
		}
		if !st.Full && !st.Ended {
			// Nothing is taken before the script waits.
			st = r.until(func(s Status) bool { return s.Full || s.Ended })
		}
		if st.Full {
			waited++
		}
		for next <= st.Last {
			fs, err := r.Read(next, 50_000)
			if err != nil || len(fs) == 0 {
				t.Fatalf("read %d: %d frames, %v", next, len(fs), err)
			}
			for _, f := range fs {
				if f.Seq != next || f.Kind == Missing {
					t.Fatalf("frame %+v where %d is due", f, next)
				}
				got.Write(f.Data)
				next++
			}
		}
		if err := trim.Trim(st.Last); err != nil {
			t.Fatal(err)
		}
	}
	if e := r.end(); e.Outcome != wire.Succeeded || got.String() != numbers(200_000) || e.Bytes != int64(got.Len()) {
		t.Errorf("exit %+v; %d bytes of %d", e, got.Len(), len(numbers(200_000)))
	}
	if waited < 2 {
		t.Errorf("it waited %d times", waited)
	}
}

// TestMoreRoom: a script that waits goes on when it is allowed more, as by an agent that comes later.
func TestMoreRoom(t *testing.T) {
	s := spec("seq 1 200000")
	s.SpoolLimit = 1 // there is a least
	r := start(t, s)
	r.until(func(s Status) bool { return s.Full })
	if n := onDisk(t, r.dir); n > leastRoom {
		t.Errorf("%d bytes on disk", n)
	}
	r.Close()
	p, err := r.runner.Attach(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.Process = p
	r.until(func(s Status) bool { return s.Full })
	if err := p.(Spooled).Allow(10 << 20); err != nil {
		t.Fatal(err)
	}
	if e := r.end(); e.Outcome != wire.Succeeded || r.output(Stdout) != numbers(200_000) {
		t.Errorf("exit %+v", e)
	}
	if err := p.(Spooled).Allow(1); err != nil {
		t.Errorf("room for what has ended: %v", err)
	}
}

// TestEndOfTheFull: a script that waits for room can be cancelled, and reaches its time limit; what it had printed
// until then is kept.
func TestEndOfTheFull(t *testing.T) {
	for _, end := range []wire.Outcome{wire.Cancelled, wire.TimedOut} {
		s := spec("exec seq 1 20000000")
		s.SpoolLimit = leastRoom
		if end == wire.TimedOut {
			s.RunTimeout, s.Grace = patience/40, 0
		}
		r := filled(t, s)
		if end == wire.Cancelled {
			if err := r.Cancel(0); err != nil {
				t.Fatal(err)
			}
		}
		e := r.end()
		if e.Outcome != end {
			t.Errorf("exit %+v", e)
		}
		got := r.output(Stdout)
		if !strings.HasPrefix(numbers(100_000), got) || int64(len(got)) != e.Bytes || len(got) < leastRoom/2 {
			t.Errorf("%d bytes, %d by the exit", len(got), e.Bytes)
		}
		if n := onDisk(t, r.dir); n > leastRoom+3*pipeRoom {
			t.Errorf("%d bytes on disk", n)
		}
		if r.Status().Full {
			t.Error("it still waits")
		}
	}
}

// filled starts a script that is to fill its spool before its time limit, which is doubled where it doesn't get that far.
func filled(t *testing.T, s Spec) *running {
	t.Helper()
	for {
		r := start(t, s)
		if st := r.until(func(s Status) bool { return s.Full || s.Ended }); st.Full || s.RunTimeout >= patience {
			return r
		}
		s.RunTimeout *= 2
	}
}

// TestTrim: what was removed is missing, what wasn't is there, for who reads on and for who begins.
func TestTrim(t *testing.T) {
	dir := t.TempDir()
	w := newSegmentWriter(dir)
	w.room = 1 << 20
	for range 100 {
		if err := w.append(1, Stdout, make([]byte, 8000)); err != nil {
			t.Fatal(err)
		}
	}
	last := w.next - 1
	segs, err := listSegments(dir)
	if err != nil || len(segs) < 3 {
		t.Fatalf("%d segments, %v", len(segs), err)
	}
	s := &spool{dir: dir}
	if fs, err := s.read(FirstSeq, last, 1, -1); err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	for _, through := range []int64{0, segs[1].first - 2} { // not a whole segment
		if err := trimSegments(dir, through); err != nil || !exists(segs[0].path) {
			t.Errorf("through %d: the first segment is gone, %v", through, err)
		}
	}
	if err := trimSegments(dir, segs[1].first-1); err != nil || exists(segs[0].path) || !exists(segs[1].path) {
		t.Errorf("not as far as it should: %v", err)
	}
	for _, s := range []*spool{s, {dir: dir}} {
		fs, err := s.read(FirstSeq+1, last, 1, -1)
		if err != nil || len(fs) != 1 || fs[0].Kind != Missing || fs[0].Seq != FirstSeq+1 || fs[0].Through != segs[1].first-1 {
			t.Errorf("of what is gone: %+v, %v", fs, err)
		}
		fs, err = s.read(segs[1].first, last, 1, -1)
		if err != nil || len(fs) != 1 || fs[0].Seq != segs[1].first || fs[0].Kind != Stdout {
			t.Errorf("of what is there: %+v, %v", fs, err)
		}
	}
	if err := trimSegments(dir, last); err != nil {
		t.Fatal(err)
	}
	if left, _ := listSegments(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	// However little is left, it tells how far the script got.
	if got, bytes, err := (&spool{dir: dir}).count(); err != nil || got != last || bytes != 800_000 {
		t.Errorf("counted %d, %d bytes, %v", got, bytes, err)
	}
}
