package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Names in an execution's directory.
const (
	ctlName    = "ctl"
	stateName  = "state"
	scriptName = "script"
	exitName   = "exit"
	logName    = "log"
)

// state is who is at work on an execution. It is written before the script is forked, and
// again with Script after.
type state struct {
	Version    int    `json:"version"`
	Execution  string `json:"execution"`
	Boot       string `json:"boot"`
	Supervisor pid    `json:"supervisor"`
	Script     pid    `json:"script"`           // zero = not forked yet
	Cgroup     string `json:"cgroup,omitempty"` // of the script; "" = it has none of its own
}

const stateVersion = 1

// pid names a process beyond the reuse of its number, within one boot.
type pid struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot
}

// pidOf reads a process's identity; not ok if there is no such process, or only its
// zombie. An error says that it couldn't be found out now.
func pidOf(n int) (p pid, ok bool, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return pid{}, false, nil
	}
	if err != nil {
		return pid{}, false, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return pid{}, false, fmt.Errorf("runner: /proc/%d/stat isn't of the known form", n)
	}
	if f[0] == "Z" || f[0] == "X" {
		return pid{}, false, nil
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	return pid{n, start}, err == nil, err
}

func (p pid) alive() (bool, error) {
	if p.PID <= 0 {
		return false, nil
	}
	now, ok, err := pidOf(p.PID)
	return ok && now == p, err
}

// BootID identifies this boot of the host.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// writeState writes it in place: one that is found half written is damaged, and has a supervisor that lives.
func writeState(dir string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, stateName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Truncate(int64(len(b)))
	}
	return errors.Join(err, f.Close())
}

// errUnreadable says that a file is there, and that nothing can be learnt from it.
var errUnreadable = errors.New("unreadable")

// readState gives fs.ErrNotExist if there is none, and errUnreadable for one that is damaged, or of
// a later version. Any other error may pass.
func readState(dir string) (s state, err error) {
	if err := readJSON(filepath.Join(dir, stateName), &s); err != nil {
		return state{}, err
	}
	if s.Version < 1 || s.Version > stateVersion {
		return state{}, fmt.Errorf("runner: %s/%s of version %d, only %d is known: %w", dir, stateName, s.Version, stateVersion, errUnreadable)
	}
	return s, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("runner: %s: %w: %w", path, errUnreadable, err)
	}
	return nil
}

// writeExit makes the exit durable: the file is there whole, or not at all.
func writeExit(dir string, e Exit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, exitName+".tmp")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, exitName)); err != nil {
		return err
	}
	return syncDir(dir)
}

// readExit fails as readState does.
func readExit(dir string) (e Exit, err error) {
	err = readJSON(filepath.Join(dir, exitName), &e)
	if err == nil && (e.Seq < FirstSeq || e.Outcome == "") {
		err = fmt.Errorf("runner: %s/%s: %w", dir, exitName, errUnreadable)
	}
	return e, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
