package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/gateway/api"
)

// machine is a systemd of its own: the first process of namespaces that it shares with nobody, with the unit of the docs.
type machine struct {
	t     *testing.T
	init  int    // its process, as seen from here
	group string // its cgroup, as seen from here
}

// enterMachine makes the namespaces' mounts, and becomes systemd. $1 is the directory of its units, $2 the program, $3 the
// state directory; they are put where the unit has them.
const enterMachine = `set -e
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /usr/local/bin
touch /usr/local/bin/rexagent
mount --bind "$2" /usr/local/bin/rexagent
mkdir /var/lib/rexagent
mount --bind "$3" /var/lib/rexagent
export container=test SYSTEMD_UNIT_PATH="$1" SYSTEMD_GENERATOR_PATH=/nonexistent
exec /lib/systemd/systemd --system --unit=basic.target --show-status=no
`

func newMachine(t *testing.T, state string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		clienttest.Lacking(t, "make namespaces: not root")
	}
	for _, tool := range []string{"/lib/systemd/systemd", "systemctl", "unshare", "nsenter"} {
		clienttest.Program(t, tool)
	}
	dir := clienttest.Dir(t, 0o711)
	units := filepath.Join(dir, "units")
	files := map[string]string{
		"rexagent.service": read(t, "../../docs/rexagent.service"),
		"rexagent.service.d/test.conf": "[Service]\nRestartSec=50ms\nEnvironment=" + asProgram + "=1 REXAGENT_ALLOW_ROOT=true GORACE=atexit_sleep_ms=0\n" +
			"StandardError=append:" + dir + "/log\n",
	}
	for _, target := range []string{"basic", "sysinit", "shutdown", "network-online", "multi-user"} {
		files[target+".target"] = "[Unit]\nDescription=" + target + "\n"
	}
	for name, text := range files {
		path := filepath.Join(units, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	group := filepath.Join(cgroupMount(t), "rexagent-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		clienttest.Lacking(t, "make a cgroup: %v", err)
	}
	t.Cleanup(func() { removeGroup(t, group) })
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && exec unshare -C -m -p -f -u -i --mount-proc --kill-child sh -c "$@"`,
		group, enterMachine, "sh", units, program, state)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, group: filepath.Base(group)}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // and with it all that it holds
		cmd.Wait()         //nolint:errcheck // it was killed
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("systemd: %s\nrexagent: %s", said.String(), log)
		}
	})
	clienttest.Until(t, "systemd was forked", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		m.init, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return m.init > 0
	})
	clienttest.Until(t, "systemd is running", func() bool {
		out, _ := m.command("systemctl", "is-system-running").Output()
		return strings.TrimSpace(string(out)) == "running"
	})
	return m
}

// cgroupMount finds where cgroups of the second version are mounted and can be made.
func cgroupMount(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		if f := strings.Fields(line); slices.Contains(f, "cgroup2") && f[3] == "/" && syscall.Access(f[4], 2) == nil {
			return f[4]
		}
	}
	dir := clienttest.Dir(t, 0o711)
	if err := syscall.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		clienttest.Lacking(t, "mount cgroups: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// removeGroup removes a cgroup whose processes are about to end, and all below it.
func removeGroup(t *testing.T, group string) {
	clienttest.Until(t, group+" is removed", func() bool {
		var dirs []string
		err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			err = os.Remove(d)
		}
		return err == nil
	})
}

func (m *machine) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.init), "-m", "-p", "-C", "-u", "-i"}, args...)...)
}

func (m *machine) systemctl(args ...string) string {
	m.t.Helper()
	out, err := m.command(append([]string{"systemctl"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("systemctl %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// agent gives the number of the agent's process there.
func (m *machine) agent() string { return m.systemctl("show", "-P", "MainPID", "rexagent") }

// proc names a file of a process there.
func (m *machine) proc(pid string, file ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(m.init), "root/proc", pid}, file...)...)
}

// cgroup gives a process's cgroup below the agent's unit.
func (m *machine) cgroup(pid string) string {
	m.t.Helper()
	for line := range strings.Lines(read(m.t, m.proc(pid, "cgroup"))) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimPrefix(strings.TrimSpace(path), "/"+m.group+"/system.slice/rexagent.service/")
		}
	}
	m.t.Fatalf("%s is in no cgroup", pid)
	return ""
}

// daemon is a part of a script: a process in a session of its own that heeds no TERM, adopted by the first process, without
// the script's pipes. It writes its number to a file.
func daemon(dir, name string) string {
	return `(setsid sh -c 'trap "" TERM HUP; echo $$ > ` + name + `; while [ -d ` + dir + ` ]; do sleep 0.1; done' >/dev/null 2>&1 </dev/null &)
while [ ! -s ` + name + ` ]; do sleep 0.02; done
`
}

// TestUnderSystemd: the unit of the docs keeps its word. Scripts and what they have detached live through a restart of the agent, its death
// and its stop; a cancel ends both, and a script that ends by itself leaves its daemon alone.
func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	m := newMachine(t, s.enrol("h"))
	trace := t.TempDir()
	m.systemctl("start", "rexagent")
	if got := m.systemctl("show", "-p", "KillMode,Delegate", "rexagent"); got != "KillMode=process\nDelegate=yes" && got != "Delegate=yes\nKillMode=process" {
		t.Errorf("the unit: %q", got)
	}

	job := s.submit("h", "cd "+trace+"\n"+daemon(trace, "first")+long(trace)+"sleep 1000", func(r *api.JobRequest) { r.Grace = api.Duration(100 * time.Millisecond) })
	s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\n" })
	first := strings.TrimSpace(read(t, filepath.Join(trace, "first")))
	if got := m.cgroup(m.agent()); got != "rexagent" {
		t.Errorf("the agent is in %s", got)
	}
	if got := m.cgroup(first); !strings.HasPrefix(got, "x-") || !strings.HasSuffix(got, job+".h") {
		t.Errorf("what the script detached is in %s", got)
	}

	was := m.agent()
	m.systemctl("restart", "rexagent")
	if now := m.agent(); now == was || !exists(m.proc(first)) {
		t.Errorf("restarted: %s, then %s; the daemon lives: %v", was, now, exists(m.proc(first)))
	}
	touch(t, filepath.Join(trace, "a"))
	s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\ntwo\n" })

	was = m.agent()
	m.systemctl("kill", "--kill-who=main", "--signal=KILL", "rexagent")
	clienttest.Until(t, "systemd has started another agent", func() bool { now := m.agent(); return now != was && now != "0" })
	touch(t, filepath.Join(trace, "b"))
	s.until(job, "h", func(api.Execution) bool { return s.output(job, "h") == "one\ntwo\nthree\n" })
	if got := m.cgroup(m.agent()); got != "rexagent" {
		t.Errorf("the next agent is in %s", got)
	}

	if _, err := s.Cancel(t.Context(), job, api.Selection{}); err != nil {
		t.Fatal(err)
	}
	if x, out := s.ends(job, "h"); x.State != "cancelled" || out != "one\ntwo\nthree\n" || exists(m.proc(first)) {
		t.Errorf("%+v, output %q; the daemon lives: %v", x, out, exists(m.proc(first)))
	}
	if got := read(t, filepath.Join(trace, "starts")); got != "start\n" {
		t.Errorf("starts: %q", got)
	}

	job = s.submit("h", "cd "+trace+"\n"+daemon(trace, "second")+"echo left")
	if x, out := s.ends(job, "h"); x.State != "succeeded" || out != "left\n" {
		t.Errorf("%+v, output %q", x, out)
	}
	second := strings.TrimSpace(read(t, filepath.Join(trace, "second")))
	for _, verb := range []string{"restart", "stop", "start"} {
		if m.systemctl(verb, "rexagent"); !exists(m.proc(second)) {
			t.Fatalf("what a script left behind didn't survive systemctl %s", verb)
		}
	}
	if x, _ := s.ends(s.submit("h", "true"), "h"); x.State != "succeeded" {
		t.Errorf("%+v", x)
	}
}
