package runner

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Account is a user of the host, as far as running a script needs it.
type Account struct {
	Name   string   `json:"name"`
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"` // supplementary, nil if it is the agent's own user
	Home   string   `json:"home"`
	Shell  string   `json:"shell"`
	Switch bool     `json:"switch"` // it isn't the agent's own user
}

// LookupAccount finds a user by name, "" being the agent's own, first in
// /etc/passwd, then by getent, so that directory services work without cgo. Errors:
// *RefusedError if there is no such user, or if only root could switch to it; any other if it couldn't be
// found out now.
func LookupAccount(name string) (Account, error) {
	self := uint32(os.Geteuid())
	match := func(f []string) bool { return f[0] == name }
	key := name
	if name == "" {
		key = strconv.Itoa(int(self))
		match = func(f []string) bool { return f[2] == key }
	}
	if strings.ContainsAny(name, ":\n\x00") || strings.HasPrefix(name, "-") {
		return Account{}, &RefusedError{fmt.Sprintf("user %.60q: not a usable name", name)}
	}
	acc, ok, err := passwdFile(match)
	if err == nil && !ok {
		acc, ok, err = getent(key)
		ok = ok && (name == "" || acc.Name == name)
	}
	if err != nil {
		return Account{}, fmt.Errorf("look up user %q: %w", name, err)
	}
	if !ok && name == "" { // a uid without an entry, as in containers
		return Account{Name: key, UID: self, GID: uint32(os.Getegid()), Home: "/", Shell: "/bin/sh"}, nil
	}
	if !ok {
		return Account{}, &RefusedError{fmt.Sprintf("user %q: no such user on this host", name)}
	}
	if acc.UID == self {
		return acc, nil
	}
	if self != 0 {
		return Account{}, &RefusedError{fmt.Sprintf("user %q: the agent isn't root and can't switch to it", name)}
	}
	groups, err := groupsOf(name)
	if _, said := errors.AsType[*exec.ExitError](err); err != nil && !said {
		return Account{}, fmt.Errorf("look up the groups of user %q: %w", name, err)
	}
	if err != nil {
		return Account{}, &RefusedError{fmt.Sprintf("user %q: its groups can't be read: %v", name, err)}
	}
	acc.Groups, acc.Switch = groups, true
	return acc, nil
}

func passwdFile(match func([]string) bool) (acc Account, ok bool, err error) {
	f, err := os.Open("/etc/passwd")
	if errors.Is(err, fs.ErrNotExist) {
		return Account{}, false, nil
	}
	if err != nil {
		return Account{}, false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 7 && match(fields) {
			acc, ok = accountOf(fields)
			return acc, ok, nil
		}
	}
	return Account{}, false, lines.Err()
}

// getent finds nothing where there is no such program.
func getent(key string) (acc Account, ok bool, err error) {
	out, err := exec.Command("getent", "passwd", "--", key).Output()
	if _, said := errors.AsType[*exec.ExitError](err); said || errors.Is(err, exec.ErrNotFound) {
		return Account{}, false, nil
	}
	fields := strings.Split(strings.TrimSpace(string(out)), ":")
	if err != nil || len(fields) != 7 {
		return Account{}, false, err
	}
	acc, ok = accountOf(fields)
	return acc, ok, nil
}

func accountOf(f []string) (Account, bool) {
	uid, err1 := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	acc := Account{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: f[5], Shell: f[6]}
	if acc.Home == "" {
		acc.Home = "/"
	}
	if acc.Shell == "" {
		acc.Shell = "/bin/sh"
	}
	return acc, err1 == nil && err2 == nil
}

// groupsOf asks id, which knows of every source of groups that the host has.
func groupsOf(name string) ([]uint32, error) {
	out, err := exec.Command("id", "-G", "--", name).Output()
	if err != nil {
		return nil, err
	}
	groups := []uint32{}
	for _, f := range strings.Fields(string(out)) {
		g, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, err
		}
		groups = append(groups, uint32(g))
	}
	return groups, nil
}

// reaches tells whether the account may pass through every directory above
// path; if not, which one stops it.
func (a Account) reaches(path string) (obstacle string, err error) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return dir, err
		}
		if !a.mayEnter(info) {
			return dir, nil
		}
		if dir == "/" || dir == "." {
			return "", nil
		}
	}
}

func (a Account) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || a.UID == 0 {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case st.Uid == a.UID:
		return mode&0o100 != 0
	case st.Gid == a.GID || slices.Contains(a.Groups, st.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
