package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write is put without a sync.
func write(t *testing.T, j *journal, e Entry) Entry {
	t.Helper()
	if err := j.put(&e, false); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestJournalAfterPowerFailure: of what wasn't synced any part may be missing, records after it included. The
// journal opens, with all that was synced; damage in that is refused.
func TestJournalAfterPowerFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	for _, i := range []int{1, 2} {
		put(t, j, sample(i))
	}
	synced := j.size
	for _, i := range []int{3, 4, 5} {
		write(t, j, sample(i))
	}
	if j.position() != 2 {
		t.Errorf("a hello would tell of position %d, which a power failure takes back", j.position())
	}
	unsynced := j.size
	tail, err := os.ReadFile(path) // as if the power failed here
	if err != nil {
		t.Fatal(err)
	}
	put(t, j, sample(6))
	sync, err := os.ReadFile(path) // and here in the middle of that sync
	if err != nil {
		t.Fatal(err)
	}
	write(t, j, sample(7))
	j.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damage := func(b []byte, at int64, how string) []byte {
		b = bytes.Clone(b)
		if how == "zeros" { // a page that was never written
			clear(b[at:min(at+200, int64(len(b)))])
			return b
		}
		b[at] ^= 0x20
		return b
	}
	for _, how := range []string{"zeros", "a bit"} {
		for at := synced; at < unsynced; at += 7 {
			for _, b := range [][]byte{tail, sync} {
				if err := os.WriteFile(path, damage(b, at, how), 0o600); err != nil {
					t.Fatal(err)
				}
				j, err := openJournal(path, "machine-1")
				if err != nil {
					t.Fatalf("%s at byte %d of %d: %v", how, at, len(b), err)
				}
				n := len(j.list())
				if n < 2 || n > 4 || j.position() < 2 {
					t.Fatalf("%s at byte %d: %d entries, position %d", how, at, n, j.position())
				}
				if e := put(t, j, sample(9)); e.Position <= 2 {
					t.Fatalf("position %d is given again", e.Position)
				}
				if err := j.close(); err != nil {
					t.Fatal(err)
				}
			}
			// What was on the disk for certain, as a later record tells, isn't left out silently.
			if _, err := parseJournal(damage(whole, at, "a bit")); err == nil || !strings.Contains(err.Error(), "damaged at byte") {
				t.Fatalf("a bit at byte %d of what was synced: %v", at, err)
			}
		}
	}
	for at := int64(fileHead); at < synced; at += 7 {
		if c, err := parseJournal(damage(tail, at, "a bit")); err == nil {
			t.Fatalf("a bit at byte %d of what was synced: %d entries", at, len(c.entries))
		}
	}
}

// TestJournalRewrittenUnderABatch: what a batch tells of the file is of the file that it is written to.
func TestJournalRewrittenUnderABatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j := open(t, path)
	big := sample(1)
	big.Script = bytes.Repeat([]byte("x"), 50_000)
	for range 5 {
		put(t, j, big)
	}
	j.lead <- struct{}{}
	done := make(chan error)
	e := sample(2)
	go func() { done <- j.put(&e, true) }()
	for begun := false; !begun; {
		j.mu.Lock()
		begun = j.batch != nil
		j.mu.Unlock()
	}
	if err := j.rewrite(); err != nil { // 50 KB instead of 250
		t.Fatal(err)
	}
	base := j.size
	<-j.lead
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	j.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := cutRecord(b[base:])
	var r record
	if err == nil {
		err = json.Unmarshal(payload, &r)
	}
	if err != nil || r.Synced != base {
		t.Errorf("the file is told to be synced up to %d, it was %d; %v", r.Synced, base, err)
	}
}
