package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

func open(t *testing.T, path string) *journal {
	t.Helper()
	j, err := openJournal(path, "machine-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j
}

func put(t *testing.T, j *journal, e Entry) Entry {
	t.Helper()
	if err := j.put(&e, true); err != nil {
		t.Fatal(err)
	}
	return e
}

func sample(i int) Entry {
	return Entry{
		Execution: fmt.Sprintf("x%d", i), Token: "t", Lane: "default", AcceptedAt: 5, DeliverUntil: 9,
		Spec: &wire.Spec{RunTimeout: 7, Env: map[string]string{"K": "v"}}, Script: []byte("echo \xff\n"),
	}
}

func TestJournalKeepsEntries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	a := put(t, j, sample(1))
	b := put(t, j, sample(2))
	if a.Position != 1 || b.Position != 2 || j.position() != 2 {
		t.Errorf("positions %d, %d, %d", a.Position, b.Position, j.position())
	}
	a.StartedAt, a.Script, a.Spec = 11, nil, nil
	a = put(t, j, a)
	if a.Position != 1 || j.position() != 3 {
		t.Errorf("the position of an acceptance moved to %d; the journal is at %d", a.Position, j.position())
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if err := j.put(&a, true); err == nil {
		t.Error("a closed journal takes records")
	}
	again := open(t, path)
	if again.gen != j.gen || again.position() != 3 || !reflect.DeepEqual(again.list(), []Entry{a, b}) {
		t.Errorf("generation %s, position %d, entries %+v", again.gen, again.position(), again.list())
	}
	if c := put(t, again, sample(3)); c.Position != 4 {
		t.Errorf("position %d after 3", c.Position)
	}
	if other := open(t, filepath.Join(t.TempDir(), "journal")); other.gen == j.gen {
		t.Error("two journals of one generation")
	}
}

// TestJournalCutAtEveryByte: whatever a crash leaves of the last records, the
// ones before are there and the torn one isn't.
func TestJournalCutAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	put(t, j, sample(1))
	ends := []int64{j.size}
	for i := 2; i <= 4; i++ {
		put(t, j, sample(i))
		ends = append(ends, j.size)
	}
	j.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut >= int(ends[0]); cut-- {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, end := range ends {
			if int64(cut) >= end {
				want++
			}
		}
		j, err := openJournal(path, "machine-1")
		if err != nil || len(j.list()) != want || j.position() != int64(want) {
			t.Fatalf("cut at %d: %v, %d entries, want %d", cut, err, len(j.list()), want)
		}
		if cut%11 != 0 {
			j.close()
			continue
		}
		// What is written next is found again.
		if e := put(t, j, sample(9)); e.Position != int64(want)+1 {
			t.Fatalf("cut at %d: next position %d", cut, e.Position)
		}
		j.close()
		if j, err = openJournal(path, ""); err != nil || len(j.list()) != want+1 {
			t.Fatalf("cut at %d, opened again: %v", cut, err)
		}
		j.close()
	}
}

// TestJournalTornTailIsGone: nothing of it is found behind a shorter record that is
// written in its place.
func TestJournalTornTailIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	put(t, j, sample(1))
	end := j.size
	long := sample(2)
	long.Script = bytes.Repeat([]byte("x"), 5000)
	put(t, j, long)
	j.close()
	if err := os.Truncate(path, j.size-1); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	if info, err := os.Stat(path); err != nil || info.Size() != end {
		t.Errorf("the file has %d bytes, its records %d", info.Size(), end)
	}
	put(t, again, sample(3))
	again.close()
	if last := open(t, path); len(last.list()) != 2 {
		t.Errorf("entries %+v", last.list())
	}
}

// TestJournalGarbageTail: the last record's bytes may be there in part, in any
// part.
func TestJournalGarbageTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	put(t, j, sample(1))
	end := j.size
	put(t, j, sample(2))
	j.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := int(end); i < len(whole); i++ {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		if c, err := parseJournal(b); err != nil || len(c.entries) != 1 || int64(c.size) != end {
			t.Fatalf("byte %d changed: %d entries, size %d, %v", i, len(c.entries), c.size, err)
		}
	}
}

func TestJournalRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	for i := range 3 {
		put(t, j, sample(i))
	}
	j.close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Clone(good)
	binary.LittleEndian.PutUint32(newer[4:], 2)
	second := bytes.Index(good, []byte(`"x1"`))
	damaged := bytes.Clone(good)
	damaged[second] ^= 1
	cut := append(bytes.Clone(good[:second]), good[second+1:]...)
	for name, c := range map[string]struct {
		file    []byte
		machine string
		says    string
	}{
		"another machine":       {good, "machine-2", "another machine"},
		"newer version":         {newer, "", "version 2"},
		"damaged in its middle": {damaged, "", "damaged at byte"},
		"a byte is missing":     {cut, "", "damaged at byte"},
		"not a journal":         {[]byte("hello, world"), "", "not a journal"},
		"empty":                 {nil, "", "not a journal"},
		"no header":             {good[:fileHead], "", "header"},
	} {
		if err := os.WriteFile(path, c.file, 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path, c.machine)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, j, err)
		}
		if b, _ := os.ReadFile(path); !bytes.Equal(b, c.file) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// TestJournalGathers: concurrent puts are all kept, in groups.
func TestJournalGathers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			e := sample(i)
			if err := j.put(&e, i%2 == 0); err != nil {
				t.Error(err)
			}
			if got, ok := j.get(e.Execution); !ok || got.Position != e.Position {
				t.Errorf("put returned before the entry was in force")
			}
		})
	}
	wg.Wait()
	j.close()
	again := open(t, path)
	seen := map[int64]bool{}
	for _, e := range again.list() {
		seen[e.Position] = true
	}
	if len(again.list()) != 200 || len(seen) != 200 || again.position() != 200 {
		t.Errorf("%d entries at %d positions, the journal is at %d", len(again.list()), len(seen), again.position())
	}
}

func TestJournalIsRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	keep := put(t, j, sample(0))
	big := sample(1)
	big.Script = bytes.Repeat([]byte("x"), 100_000)
	for range 100 {
		big.Position = 0
		big = put(t, j, big)
	}
	if j.size > 3*compactAt {
		t.Errorf("the file grew to %d bytes", j.size)
	}
	j.drop(func(e Entry) bool { return e.Execution == "x1" })
	for range 100 {
		put(t, j, big)
		j.drop(func(e Entry) bool { return e.Execution == "x1" })
	}
	at := j.position()
	j.close()
	again := open(t, path)
	if got, ok := again.get("x0"); !ok || !reflect.DeepEqual(got, keep) {
		t.Errorf("lost by rewriting: %+v", again.list())
	}
	if again.position() != at || at != 201 || again.gen != j.gen {
		t.Errorf("position %d, was %d", again.position(), at)
	}
}

// TestJournalWriteFails: a record that couldn't be written isn't in force, and the
// journal mends itself once it can.
func TestJournalWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	a := put(t, j, sample(1))
	j.file.Close()
	b := sample(2)
	if err := j.put(&b, true); err == nil {
		t.Fatal("no error")
	}
	if _, ok := j.get("x2"); ok || j.position() != 1 {
		t.Errorf("in force, though it wasn't written; position %d", j.position())
	}
	c := put(t, j, sample(3))
	j.close()
	again := open(t, path)
	if !reflect.DeepEqual(again.list(), []Entry{a, c}) || c.Position <= b.Position {
		t.Errorf("entries %+v", again.list())
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("locked twice: %v", err)
	}
	// One that was killed is held for a moment by what it was forking.
	let := make(chan error)
	go func() {
		held, err := Locked(dir)
		if err == nil && !held {
			err = errors.New("it isn't held")
		}
		let <- errors.Join(err, unlock())
	}()
	again, err := Lock(dir)
	if err := <-let; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
}

func FuzzParseJournal(f *testing.F) {
	path := filepath.Join(f.TempDir(), "journal")
	j, err := openJournal(path, "m")
	if err != nil {
		f.Fatal(err)
	}
	e := sample(1)
	if err := j.put(&e, true); err != nil {
		f.Fatal(err)
	}
	j.close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseJournal(b)
		if err != nil {
			return
		}
		if c.size > len(b) || c.header.Generation == "" {
			t.Fatalf("%+v", c)
		}
		again, err := parseJournal(b[:c.size])
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("the part that counts reads differently: %v", err)
		}
	})
}
