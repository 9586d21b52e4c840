package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// get asks for a URL, for its status only.
func get(ctx context.Context, url string) error {
	_, err := body(ctx, url)
	return err
}

func body(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return b, err
}

// goroutines asks a gateway how many it has, without those of its bounded pool that wait for a session's turn.
func goroutines(ctx context.Context, admin string) (int, error) {
	b, err := body(ctx, admin+"/debug/pprof/goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	head, rest, _ := strings.Cut(string(b), "\n")
	total, err := strconv.Atoi(strings.TrimPrefix(head, "goroutine profile: total "))
	for group := range strings.SplitSeq(rest, "\n\n") {
		at, stack, _ := strings.Cut(strings.TrimSpace(group), "\n")
		if first, _, _ := strings.Cut(stack, "\n"); strings.Contains(first, "session.(*Hub).worker+") {
			n, _ := strconv.Atoi(strings.Fields(at)[0])
			total -= n
		}
	}
	return total, err
}

// descriptors counts those of a process.
func descriptors(pid int) (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(list), err
}

// leftovers finds processes that came of this world, by what they were started with: rexagents, supervisors, scripts.
func (w *world) leftovers() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmd, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(d, "environ"))
		ours := bytes.Contains(cmd, []byte(w.cfg.Dir)) || bytes.Contains(env, []byte(TraceVar+"="+w.trace))
		if ours && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(b, ')')
	return err != nil || i < 0 || i+2 >= len(b) || b[i+2] == 'Z'
}

func killLeftover(pid int) { syscall.Kill(pid, syscall.SIGKILL) } //nolint:errcheck // it may have ended

func describe(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fmt.Sprintf("%d: %s", pid, strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")))
}

// supervisors gives the live supervisors of a real host's scripts.
func (r *real) supervisors() []int {
	files, _ := filepath.Glob(filepath.Join(r.dir, "x", "*", "state"))
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		var s struct{ Supervisor struct{ PID int } }
		if err != nil || json.Unmarshal(b, &s) != nil || s.Supervisor.PID <= 1 {
			continue
		}
		cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.Supervisor.PID))
		if err == nil && bytes.Contains(cmd, []byte(filepath.Dir(f))) && !zombie(s.Supervisor.PID) {
			pids = append(pids, s.Supervisor.PID)
		}
	}
	return pids
}

// spooled counts the executions' directories of all hosts.
func (w *world) spooled() (dirs []string) {
	for _, pattern := range []string{"*/x/*", "*/*/x/*"} { // of real and of light hosts
		more, _ := filepath.Glob(filepath.Join(w.hostsDir(), pattern))
		dirs = append(dirs, more...)
	}
	return dirs
}
