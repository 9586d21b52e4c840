package runner

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes this process the parent of what its descendants leave
// behind.
func becomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reap collects all children that have ended. main's status is given when it is
// among them. none says that no child is left, dead or alive: the whole group is gone.
func reap(main int) (status *syscall.WaitStatus, none bool) {
	for {
		var ws syscall.WaitStatus
		p, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			return status, true
		case p == 0:
			return status, false
		case p == main:
			status = &ws
		}
	}
}

// signalAll signals a process group of this process's descendants, and all its other
// descendants: a child that made a session of its own too. A group without members is left
// alone: its number may be another's by now.
func signalAll(group int, sig syscall.Signal) {
	signalled := false
	for _, p := range descendants(os.Getpid()) {
		if p.group != group {
			syscall.Kill(p.pid, sig)
		} else if !signalled {
			signalled = true
			syscall.Kill(-group, sig)
		}
	}
}

func descendants(of int) []process {
	children := map[int][]process{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	all := children[of]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

type process struct{ pid, parent, group int }

// processes lists the host's processes, as far as they can be seen.
func processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []process
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 3 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		group, _ := strconv.Atoi(f[2])
		list = append(list, process{n, parent, group})
	}
	return list
}

// killOrphans ends what is left of a script's group after its supervisor has
// died. The group's number may have passed to others since, so a member must be known as ours: by
// the leader's start time, or by the execution's id in its environment.
func killOrphans(leader pid, execution string) {
	if leader.PID <= 1 {
		return
	}
	ours := leader.alive()
	if _, reused := pidOf(leader.PID); reused && !ours {
		return
	}
	mark := []byte("REXGATE_EXECUTION=" + execution)
	for _, p := range processes() {
		if ours {
			break
		}
		if p.group != leader.PID {
			continue
		}
		env, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
		for v := range bytes.SplitSeq(env, []byte{0}) {
			ours = ours || bytes.Equal(v, mark)
		}
	}
	if ours {
		syscall.Kill(-leader.PID, syscall.SIGKILL)
	}
}
