package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own, in a file. It can be full, it can fail, and it can lose what wasn't synced, as that
// of a machine that loses its power. It needs root and loop devices.
type disk struct {
	image, dir string
	up         bool // mounted
}

// newDisk makes a file system of so many bytes in a file, and mounts it on a new directory.
func newDisk(image, dir string, size int64) (*disk, error) {
	d := &disk{image: image, dir: dir}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, size); err != nil {
		return nil, err
	}
	if err := tool("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-J", "size=8", image); err != nil {
		return nil, err
	}
	return d, d.mount()
}

// CheckDisks tells why file systems can't be made here, in a directory; nil = they can.
func CheckDisks(dir string) error {
	d, err := newDisk(filepath.Join(dir, "try.img"), filepath.Join(dir, "try"), 64<<20)
	if d != nil {
		if err == nil {
			err = d.fail()
		}
		err = errors.Join(err, d.unmount(), os.Remove(d.image), os.Remove(d.dir))
	}
	return err
}

// tool runs a program of the system's.
func tool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if path, err := exec.LookPath(name); err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if full := filepath.Join(dir, name); unix.Access(full, unix.X_OK) == nil {
				cmd.Path, cmd.Err = full, nil
			}
		}
	} else {
		cmd.Path = path
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *disk) mount() error {
	if err := tool("mount", "-t", "ext4", "-o", "loop,noatime,nosuid,nodev", d.image, d.dir); err != nil {
		return err
	}
	d.up = true
	return nil
}

// unmount waits a moment for whoever has just been killed to let go.
func (d *disk) unmount() error {
	if !d.up {
		return nil
	}
	var err error
	for range 200 {
		if err = unix.Unmount(d.dir, 0); err != unix.EBUSY {
			break
		}
		time.Sleep(10 * time.Millisecond) // nobody tells
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", d.dir, err)
	}
	d.up = false
	return nil
}

// drop unmounts it whoever uses it.
func (d *disk) drop() {
	if d != nil && d.up {
		unix.Unmount(d.dir, unix.MNT_DETACH) //nolint:errcheck // the run has failed already
		d.up = false
	}
}

// fail has everything fail from now on; what wasn't synced is lost.
func (d *disk) fail() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, withoutFlush); err != nil {
		return fmt.Errorf("shut %s down: %w", d.dir, err)
	}
	return nil
}

// again mounts it after it has failed, with what is left. Nobody may use it.
func (d *disk) again() error {
	if err := d.unmount(); err != nil {
		return err
	}
	if err := d.mount(); err != nil {
		return err
	}
	// Where what filled it was there when it was synced last, it is there again.
	if err := os.Remove(filepath.Join(d.dir, filler)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// filler is the file that leaves no room.
const filler = "filler"

// fill leaves no room, and gives a function that takes that back.
func (d *disk) fill() (undo func() error, err error) { return fill(d.dir) }

// fill leaves no room on the file system of a directory.
func fill(dir string) (undo func() error, err error) {
	file := filepath.Join(dir, filler)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	undo = func() error { return os.Remove(file) }
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return undo, err
	}
	for free := int64(st.Bavail) * st.Bsize; free > 1<<20; free /= 2 { // what the file system needs for itself isn't known
		size, err := f.Seek(0, 2)
		if err != nil {
			return undo, err
		}
		if err = unix.Fallocate(int(f.Fd()), 0, size, free); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return undo, err
		}
	}
	for _, size := range []int{64 << 10, 4 << 10, 1} {
		b := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(b)
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return undo, err
	}
	return undo, nil
}
