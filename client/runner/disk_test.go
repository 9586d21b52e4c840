package runner

import (
	"bytes"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

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

func TestChecksum(t *testing.T) {
	b := make([]byte, 2*shortFrame)
	for i := range b {
		b[i] = byte(i * 7)
		if got, want := checksum(b[:i]), crc32.Checksum(b[:i], crc32.MakeTable(crc32.Castagnoli)); got != want {
			t.Fatalf("%d bytes: %x, want %x", i, got, want)
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
