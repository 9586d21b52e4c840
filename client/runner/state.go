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
	Script     pid    `json:"script"` // zero = not forked yet
}

const stateVersion = 1

// pid names a process beyond the reuse of its number, within one boot.
type pid struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot
}

// pidOf reads a process's identity; not ok if there is no such process, or only its
// zombie.
func pidOf(n int) (p pid, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n) + "/stat")
	if err != nil {
		return pid{}, false
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return pid{}, false
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	return pid{n, start}, err == nil
}

func (p pid) alive() bool {
	now, ok := pidOf(p.PID)
	return ok && p.PID > 0 && now == p
}

// BootID identifies this boot of the host.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

func writeState(dir string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, stateName+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, stateName))
}

// readState gives ErrNoTrace if there is none.
func readState(dir string) (s state, err error) {
	b, err := os.ReadFile(filepath.Join(dir, stateName))
	if errors.Is(err, fs.ErrNotExist) {
		return s, ErrNoTrace
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("runner: %s/%s: %w", dir, stateName, err)
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("runner: %s/%s of version %d, only %d is known", dir, stateName, s.Version, stateVersion)
	}
	return s, nil
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

func readExit(dir string) (e Exit, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, exitName))
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, false, fmt.Errorf("runner: %s/%s: %w", dir, exitName, err)
	}
	return e, true, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
