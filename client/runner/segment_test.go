package runner

import (
	"os"
	"testing"
)

// TestSegmentThatCannotBeSynced has a full segment on a disk that takes what is written,
// and then fails to sync it: an append that fails is repeated, so it must not have written.
func TestSegmentThatCannotBeSynced(t *testing.T) {
	w := newSegmentWriter(t.TempDir())
	file, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if file.Sync() == nil {
		t.Fatal("this device can be synced")
	}
	w.file, w.size = file, segmentSize-1
	failed := 0
	for range 3 {
		next, bytes := w.next, w.bytes
		if err := w.append(0, Stdout, []byte("x")); err == nil {
			continue
		}
		failed++
		if w.next != next || w.bytes != bytes {
			t.Errorf("an append that failed has written frame %d", next)
		}
	}
	if failed == 0 {
		t.Error("no append has failed")
	}
	w.file = nil // as the disk is well again
	if err := w.append(0, Stdout, []byte("y")); err != nil {
		t.Fatal(err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
}
