package runner

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// TestOutputComesAtOnce: what a script wrote is there while it still runs and
// says nothing more. The script itself waits for the reader.
func TestOutputComesAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := start(t, spec("cd "+dir+`
wait_for() { while [ ! -e $1 ]; do sleep 0.02; done; }
echo one; wait_for a; printf 'two '; printf 'three'; wait_for b; echo; echo bad >&2; wait_for c`))
	next := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.shows(Stdout, "one\n")
	next("a")
	r.shows(Stdout, "one\ntwo three")
	next("b")
	r.shows(Stderr, "bad\n")
	if s := r.Status(); s.Ended {
		t.Fatalf("ended early: %+v", s.Exit)
	}
	next("c")
	if e := r.end(); e.Outcome != wire.Succeeded || r.output(Stdout) != "one\ntwo three\n" {
		t.Errorf("exit %+v, output %q", e, r.output(Stdout))
	}
}

// TestOutputDelay measures from the script's write to the reader.
func TestOutputDelay(t *testing.T) {
	r := start(t, spec("for i in 1 2 3 4 5 6 7 8 9 10; do date +%s%N; sleep 0.07; done"))
	seen := 0
	var worst time.Duration
	for !r.Status().Ended {
		<-r.Changed()
		now := time.Now()
		lines := strings.Fields(r.output(Stdout))
		for _, l := range lines[seen:] {
			ns, err := strconv.ParseInt(l, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			worst = max(worst, now.Sub(time.Unix(0, ns)))
		}
		seen = len(lines)
	}
	t.Logf("worst delay %v over %d lines", worst, seen)
	if seen != 10 {
		t.Errorf("%d lines", seen)
	}
}

func TestCharactersAreNotTorn(t *testing.T) {
	// A euro sign in three writes, then more text than a chunk holds, all of
	// three-byte characters and shifted by one.
	r := start(t, spec(`#!/usr/bin/env python3
import os, time
for b in '€'.encode():
    os.write(1, bytes([b])); time.sleep(0.12)
os.write(1, b'x')
data = ('€' * 20000).encode()
for i in range(0, len(data), 4096):
    os.write(1, data[i:i+4096])
`))
	if e := r.end(); e.Outcome != wire.Succeeded {
		t.Fatalf("exit %+v, %s", e, r.output(Stderr))
	}
	for _, f := range r.frames() {
		if !utf8.Valid(f.Data) {
			t.Errorf("frame %d is torn: % x", f.Seq, f.Data[:min(8, len(f.Data))])
		}
	}
	if want := "€x" + strings.Repeat("€", 20000); r.output(Stdout) != want {
		t.Error("output differs")
	}
}

func TestBinaryOutput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, out, stderr := run(t, spec("cat "+file+"; head -c 1000 "+file+" >&2"))
	if out != string(data) || stderr != string(data[:1000]) {
		t.Errorf("%d and %d bytes, or others", len(out), len(stderr))
	}
}

func TestOutputLimit(t *testing.T) {
	s := spec("#!/usr/bin/env python3\nimport sys\nsys.stdout.write('€' * 100000)\nsys.stdout.flush()\nsys.stderr.write('late')\n")
	s.OutputLimit = 10_000
	e, out, stderr := run(t, s)
	if out != strings.Repeat("€", 3333) || stderr != "" {
		t.Errorf("kept %d and %d bytes", len(out), len(stderr))
	}
	if e.Outcome != wire.Succeeded || e.Bytes != 9999 || e.Dropped != 300_000-9999+4 {
		t.Errorf("exit %+v", e)
	}
}

func TestManySegments(t *testing.T) {
	r := start(t, spec("seq 1 600000"))
	var want strings.Builder
	for i := 1; i <= 600_000; i++ {
		fmt.Fprintln(&want, i)
	}
	e := r.end()
	if r.output(Stdout) != want.String() || e.Bytes != int64(want.Len()) {
		t.Errorf("kept %d bytes, want %d", e.Bytes, want.Len())
	}
	segs, err := listSegments(r.dir)
	if err != nil || len(segs) < 3 {
		t.Errorf("%d segments, %v", len(segs), err)
	}
}

// TestDiskFull: the script waits until there is room, and nothing is lost.
func TestDiskFull(t *testing.T) {
	base := mount(t, 0, "size=1m")
	ballast := filepath.Join(base, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 900_000), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, filepath.Join(base, "x"), spec("seq 1 60000"))
	clienttest.Until(t, "the disk is full", func() bool {
		var fs syscall.Statfs_t
		return syscall.Statfs(base, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < 2*maxFrame
	})
	if r.Status().Ended {
		t.Fatal("ended, though nothing could be written")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := 1; i <= 60_000; i++ {
		fmt.Fprintln(&want, i)
	}
	if e := r.end(); e.Outcome != wire.Succeeded || r.output(Stdout) != want.String() {
		t.Errorf("exit %+v, %d bytes", e, len(r.output(Stdout)))
	}
}

func pidIn(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGatherIsExact: however bytes arrive, chunks are whole characters, within
// bounds, and together what was written, up to the limit.
func TestGatherIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "é", "€", "𝄞", strings.Repeat("€", 1000), strings.Repeat("xé", 3000)}), 0, 40).Draw(t, "text"), ""))
		g := gather{limit: rapid.Int64Range(0, 30_000).Draw(t, "limit")}
		now := time.UnixMilli(1_000_000)
		var out []draft
		for rest := text; len(rest) > 0; {
			n := min(rapid.IntRange(1, 9000).Draw(t, "n"), len(rest))
			out = g.add(Stdout, rest[:n], now, out)
			rest = rest[n:]
			now = now.Add(time.Duration(rapid.IntRange(0, 80).Draw(t, "ms")) * time.Millisecond)
			if at, ok := g.due(); ok && !at.After(now) {
				out = g.flush(now, out)
			}
		}
		out = g.end(now, out)
		var all []byte
		for _, d := range out {
			if len(d.data) == 0 || len(d.data) > wire.MaxChunk || !utf8.Valid(d.data) {
				t.Fatalf("chunk of %d bytes, valid %v", len(d.data), utf8.Valid(d.data))
			}
			all = append(all, d.data...)
		}
		want := text[:min(int64(len(text)), g.limit)]
		want = want[:len(want)-incomplete(want)]
		if !bytes.Equal(all, want) || g.kept != int64(len(want)) || g.dropped != int64(len(text)-len(want)) {
			t.Fatalf("%d bytes, want %d; kept %d, dropped %d", len(all), len(want), g.kept, g.dropped)
		}
	})
}
