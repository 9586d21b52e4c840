package runner

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

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
	for _, p := range descendants() {
		if g, err := syscall.Getpgid(p); err != nil || g != group {
			syscall.Kill(p, sig)
		} else if !signalled {
			signalled = true
			syscall.Kill(-group, sig)
		}
	}
}

// killRounds bounds killDescendants, which is called again while something is left.
const killRounds = 1000

// killDescendants kills all of this process's descendants, and those that are forked meanwhile, until
// no new ones are found.
func killDescendants() {
	killed := map[int]bool{}
	again := true
	for n := 0; again && n < killRounds; n++ {
		again = false
		for _, p := range descendants() {
			if !killed[p] {
				killed[p], again = true, true
				syscall.Kill(p, syscall.SIGKILL)
			}
		}
	}
}

// descendants gives them as far as they can be seen now. It must be quick: it competes with
// processes that fork.
func descendants() []int {
	list, ok := childrenOf(os.Getpid(), nil)
	for i := 0; ok && i < len(list); i++ {
		list, ok = childrenOf(list[i], list)
	}
	if ok {
		return list
	}
	return listedDescendants()
}

// childrenOf adds a process's children to a list; not ok if this kernel doesn't tell.
func childrenOf(pid int, list []int) (all []int, ok bool) {
	path := "/proc/" + strconv.Itoa(pid) + "/task"
	tasks, err := os.ReadDir(path)
	if err != nil {
		return list, gone(err)
	}
	for _, t := range tasks {
		b, err := os.ReadFile(path + "/" + t.Name() + "/children")
		if err != nil && pid == os.Getpid() { // its threads don't end
			return list, false
		}
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list, true
}

// gone tells whether an error of reading in /proc says that the process is no longer there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// listedDescendants is descendants the slow way, from the list of all processes.
func listedDescendants() (list []int) {
	all, err := processes()
	if err != nil {
		return nil // it is tried again
	}
	children := map[int][]int{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	list = children[os.Getpid()]
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i]]...)
	}
	return list
}

type process struct {
	pid, parent, group int
	dead               bool // or only its first thread is
}

// processes lists the host's processes.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []process
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 3 {
			continue
		}
		parent, _ := strconv.Atoi(f[1])
		group, _ := strconv.Atoi(f[2])
		list = append(list, process{n, parent, group, f[0] == "Z" || f[0] == "X"})
	}
	return list, nil
}

const (
	// orphanPatience is how long it may take until what was killed is gone.
	orphanPatience = 5 * time.Second
	// orphanPause is the pause between looks at that.
	orphanPause = 2 * time.Millisecond
)

// killOrphans ends what is left of a script after its supervisor has died, and returns when it is gone. It may
// be repeated after an error.
func killOrphans(st state) error {
	c := cgroup{st.Cgroup}
	if err := c.empty(orphanPatience); err != nil {
		return err
	}
	c.remove() //nolint:errcheck // it isn't there
	for begin := time.Now(); ; time.Sleep(orphanPause) {
		left, err := orphans(st)
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Since(begin) > orphanPatience {
			return errors.New("some of the script's processes outlive their being killed")
		}
		for _, p := range left {
			syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

// orphans finds what is left of a script. The numbers of its processes may have passed to others, so they are known
// as ours by the leader's start time, or by the execution's id in their environment.
func orphans(st state) (left []process, err error) {
	leads, err := st.Script.alive()
	if err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	mark := []byte(executionVar + "=" + st.Execution)
	for _, p := range all {
		if p.dead {
			continue
		}
		ours := leads && p.group == st.Script.PID
		if !ours && p.pid != os.Getpid() {
			env, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
			if err != nil && !gone(err) && !errors.Is(err, fs.ErrPermission) {
				return nil, err
			}
			for v := range bytes.SplitSeq(env, []byte{0}) {
				ours = ours || bytes.Equal(v, mark)
			}
		}
		if ours {
			left = append(left, p)
		}
	}
	return left, nil
}
