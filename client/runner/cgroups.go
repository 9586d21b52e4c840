package runner

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cgroups is a cgroup that is this program's own to divide: itself is in one below it, and each script gets
// another. So all that a script started is known and can be ended at once, whatever it did to get away.
type Cgroups struct {
	root string
	tag  string // in the names of those of one place
}

const (
	// leafName is the cgroup of the program itself: one that has others below it should have no processes.
	leafName = "rexagent"
	// scriptPrefix begins the names of scripts' cgroups.
	scriptPrefix = "x-"
)

// OwnCgroups takes the cgroup that this process is in, if that was handed to it: delegated by systemd
// (Delegate=yes), owned by the user that it runs as, or the root as a container sees it. It moves this process to a
// cgroup below, and removes what earlier ones left of the executions whose directories are in place. It needs
// cgroups of the second version and Linux 5.14. The error says why scripts can't have cgroups.
func OwnCgroups(place string) (*Cgroups, error) {
	root, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	return openCgroups(root, place)
}

func openCgroups(root, place string) (*Cgroups, error) {
	sum := sha256.Sum256([]byte(filepath.Clean(place)))
	c := &Cgroups{root: root, tag: hex.EncodeToString(sum[:4])}
	if err := c.try(); err != nil {
		return nil, err
	}
	leaf, err := makeCgroup(filepath.Join(root, leafName))
	if err == nil {
		err = leaf.take(os.Getpid())
	}
	if err == nil {
		err = c.sweep()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// try finds out whether a process can be started in a cgroup of its own, and ended by it.
func (c *Cgroups) try() (err error) {
	g, err := makeCgroup(filepath.Join(c.root, "try-"+strconv.Itoa(os.Getpid())))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.remove()) }()
	if _, err := os.Stat(filepath.Join(g.path, "cgroup.kill")); err != nil {
		return err
	}
	dir, err := os.Open(g.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// The process is made in the cgroup, and only then finds nothing to execute.
	name := filepath.Join(g.path, "nothing")
	p, err := os.StartProcess(name, []string{name}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err == nil {
		_, err = p.Wait()
		return errors.Join(err, fmt.Errorf("%s could be executed", name))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start a process in %s: %w", g.path, err)
	}
	return nil
}

// of names the cgroup of an execution by its directory.
func (c *Cgroups) of(dir string) string {
	name := scriptPrefix + c.tag + "-" + filepath.Base(dir)
	if len(name) > unix.NAME_MAX {
		sum := sha256.Sum256([]byte(name))
		name = name[:unix.NAME_MAX-17] + "-" + hex.EncodeToString(sum[:8])
	}
	return filepath.Join(c.root, name)
}

// sweep removes the empty cgroups of scripts that have ended. One that is in use stays: what runs in it
// has a supervisor, or was left behind by a script that has ended.
func (c *Cgroups) sweep() error {
	entries, err := os.ReadDir(c.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), scriptPrefix+c.tag+"-") {
			if err := (cgroup{filepath.Join(c.root, e.Name())}).remove(); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// ownCgroup finds the directory of the cgroup that this process may divide.
func ownCgroup() (string, error) {
	member, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	dir, top, err := locate(string(member), string(mounts))
	if err != nil {
		return "", err
	}
	if filepath.Base(dir) == leafName && !top { // this program's own leaf, before it was started anew
		if parent := filepath.Dir(dir); handedOver(parent) {
			return parent, nil
		}
	}
	if !top && !handedOver(dir) {
		return "", fmt.Errorf("the cgroup %s wasn't delegated to this process (in a systemd unit: Delegate=yes)", dir)
	}
	return dir, nil
}

// handedOver tells whether a cgroup is this process's to divide: by systemd's mark, or by its owner.
func handedOver(dir string) bool {
	for _, mark := range []string{"trusted.delegate", "user.delegate"} {
		var b [8]byte
		if n, err := unix.Getxattr(dir, mark, b[:]); err == nil && string(b[:n]) == "1" {
			return true
		}
	}
	var st unix.Stat_t
	uid := os.Geteuid()
	return uid != 0 && unix.Stat(dir, &st) == nil && int(st.Uid) == uid
}

// locate finds the directory of a process's cgroup of the second version, from its /proc/PID/cgroup and mountinfo.
// top tells that it is the root of what the process can see.
func locate(member, mounts string) (dir string, top bool, err error) {
	path, ok := "", false
	for line := range strings.Lines(member) {
		if p, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); found {
			path, ok = p, true
		}
	}
	if !ok || strings.HasPrefix(path, "/..") || strings.HasSuffix(path, " (deleted)") {
		return "", false, errors.New("this process is in no cgroup of the second version")
	}
	for lines := bufio.NewScanner(strings.NewReader(mounts)); lines.Scan(); {
		mount, rest, _ := bytes.Cut(lines.Bytes(), []byte(" - "))
		f := strings.Fields(string(mount))
		if len(f) < 5 || !bytes.HasPrefix(rest, []byte("cgroup2 ")) {
			continue
		}
		below, found := strings.CutPrefix(path, strings.TrimSuffix(unescape(f[3]), "/"))
		if !found || below != "" && below[0] != '/' {
			continue
		}
		return filepath.Join(unescape(f[4]), below), path == "/", nil
	}
	return "", false, errors.New("no file system of cgroups of the second version is mounted")
}

// unescape reads a path of mountinfo, in which some characters are in octal.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
