package runner

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// cgroup is one of the second version, by its directory. Without a path it is none: nothing is in it, and
// nothing can be done to it.
type cgroup struct{ path string }

// makeCgroup makes one.
func makeCgroup(path string) (cgroup, error) {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return cgroup{}, err
	}
	return cgroup{path}, nil
}

// kill ends all that is in it, and in those below it, at once: nothing can be forked out of it.
func (c cgroup) kill() error {
	if c.path == "" {
		return nil
	}
	return writeTo(filepath.Join(c.path, "cgroup.kill"), "1")
}

// populated tells whether a process is in it, or in one below it. One that is removed isn't.
func (c cgroup) populated() bool {
	if c.path == "" {
		return false
	}
	b, err := os.ReadFile(filepath.Join(c.path, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || !bytes.Contains(b, []byte("populated 0")) // what can't be seen isn't proven
}

// empty ends all that is in it, and returns when it is gone: an error if it isn't in time.
func (c cgroup) empty(patience time.Duration) error {
	for begin := time.Now(); c.populated(); time.Sleep(orphanPause) {
		if err := c.kill(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if time.Since(begin) > patience {
			return errors.New("processes of " + c.path + " outlive their being killed")
		}
	}
	return nil
}

// remove removes it, and what a script made below it. EBUSY says that something is in it.
func (c cgroup) remove() error {
	if c.path == "" {
		return nil
	}
	entries, err := os.ReadDir(c.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := (cgroup{filepath.Join(c.path, e.Name())}).remove(); err != nil {
				return err
			}
		}
	}
	return os.Remove(c.path)
}

// take moves a process into it.
func (c cgroup) take(pid int) error {
	return writeTo(filepath.Join(c.path, "cgroup.procs"), strconv.Itoa(pid))
}

// writeTo writes a control file, which is never made.
func writeTo(path, what string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(what)
	return errors.Join(err, f.Close())
}
