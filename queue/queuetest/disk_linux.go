package queuetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk is a small file system in memory, for a store's files: it can be filled up, and be made read-only.
type Disk struct {
	Dir string

	t    testing.TB
	size int64
}

// NewDisk mounts one, until the test ends. That needs root: where it isn't allowed the test is skipped, or fails if
// REXGATE_TEST_REQUIRE=1 says that nothing may be skipped.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	d := &Disk{Dir: t.TempDir(), t: t, size: size}
	err := d.mount(0)
	if errors.Is(err, syscall.EPERM) {
		if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
			t.Fatal("mounting isn't allowed, and REXGATE_TEST_REQUIRE=1 allows no skip: run as root")
		}
		t.Skip("mounting isn't allowed: run as root")
	}
	if err != nil {
		t.Fatalf("mount %s: %v", d.Dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.Dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.Dir, err)
		}
	})
	return d
}

func (d *Disk) mount(flags uintptr) error {
	return syscall.Mount("tmpfs", d.Dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|flags, fmt.Sprintf("size=%d,mode=0700", d.size))
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fill leaves no byte free, until Free.
func (d *Disk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err = f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("filling the disk: %v", err)
	}
}

// Free undoes Fill.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		d.t.Fatal(err)
	}
}

// Resize changes how much the disk holds.
func (d *Disk) Resize(size int64) {
	d.t.Helper()
	d.size = size
	if err := d.mount(syscall.MS_REMOUNT); err != nil {
		d.t.Fatalf("remount %s: %v", d.Dir, err)
	}
}
