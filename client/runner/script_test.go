package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

func TestScripts(t *testing.T) {
	for _, c := range []struct {
		name, script string
		outcome      wire.Outcome
		code         int
		signal       string
		stdout       string
		reason       string
	}{
		{"sh", "#!/bin/sh\necho out; echo err >&2\n", wire.Succeeded, 0, "", "out\n", ""},
		{"bash", "#!/bin/bash\necho ${BASH_VERSION:+bash}; arr=(1 2); echo ${arr[1]}\n", wire.Succeeded, 0, "", "bash\n2\n", ""},
		{"bash with an argument", "#! /bin/bash -e \nfalse\necho no\n", wire.Failed, 1, "", "", ""},
		{"python", "#!/usr/bin/env python3\nimport sys; print('py'); sys.exit(3)\n", wire.Failed, 3, "", "py\n", ""},
		{"env -S", "#!/usr/bin/env -S python3 -u -E\nimport sys; print(sys.flags.ignore_environment)\n", wire.Succeeded, 0, "", "1\n", ""},
		{"no shebang", "echo plain $0 | sed 's,/.*/,,'\n", wire.Succeeded, 0, "", "plain script\n", ""},
		{"no newline", "#!/bin/sh", wire.Succeeded, 0, "", "", ""},
		{"exit code", "exit 254", wire.Failed, 254, "", "", ""},
		{"signal", "kill -SEGV $$", wire.Failed, -1, "SIGSEGV", "", ""},
		{"stdin is empty", "cat; echo end", wire.Succeeded, 0, "", "end\n", ""},
		{"hangup isn't ignored", "trap; kill -HUP $$; echo no", wire.Failed, -1, "SIGHUP", "", ""},
		{"pipe isn't ignored", "(sleep 0.1; echo late; exit) | true; kill -PIPE $$", wire.Failed, -1, "SIGPIPE", "", ""},
		{"CRLF with shebang", "#!/bin/sh\r\necho hi\r\n", wire.Failed, -1, "", "", "CRLF"},
		{"CRLF without", "set -e\r\necho hi\r\n", wire.Failed, -1, "", "", "CRLF"},
		{"no such interpreter", "#!/opt/none/python9\n", wire.Failed, -1, "", "", "/opt/none/python9 doesn't exist"},
		{"interpreter isn't executable", "#!/etc/passwd\n", wire.Failed, -1, "", "", "/etc/passwd can't be executed"},
		{"empty shebang", "#!\n", wire.Failed, -1, "", "", "without an interpreter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, out, _ := run(t, spec(c.script))
			if e.Outcome != c.outcome || e.ExitCode != c.code || e.Signal != c.signal || !strings.Contains(e.Reason, c.reason) || (c.reason == "") != (e.Reason == "") {
				t.Errorf("exit %+v", e)
			}
			if out != c.stdout {
				t.Errorf("stdout %q, want %q", out, c.stdout)
			}
		})
	}
}

func TestBinaryScript(t *testing.T) {
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if e, _, _ := run(t, spec(string(b))); e.Outcome != wire.Succeeded {
		t.Errorf("exit %+v", e)
	}
}

func TestInterpreter(t *testing.T) {
	for script, want := range map[string][]string{
		"#!/bin/sh\n":                     {"/bin/sh", "F"},
		"#!/bin/sh":                       {"/bin/sh", "F"},
		"#! \t/bin/sh \t \nx":             {"/bin/sh", "F"},
		"#!/usr/bin/env -S a  b\tc \nx":   {"/usr/bin/env", "-S a  b\tc", "F"},
		"#!/usr/bin/awk\t-f\nx":           {"/usr/bin/awk", "-f", "F"},
		"echo":                            {"/bin/sh", "F"},
		"":                                {"/bin/sh", "F"},
		" #!/bin/bash\n":                  {"/bin/sh", "F"},
		"\x7fELF\x02":                     {"F"},
		"echo a\necho windows later\r\nb": {"/bin/sh", "F"},
	} {
		if got, err := interpreter([]byte(script), "F"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v; want %q", script, got, err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("REXAGENT_SECRET", "agent's own")
	t.Setenv("LANG", "C.UTF-8")
	s := spec("#!/bin/sh\nexec /usr/bin/env\n")
	s.Env = map[string]string{"GREETING": "hello world\nbye", "PATH": "/usr/bin:/bin", executionVar: "another.host"}
	_, out, _ := run(t, s)
	for _, want := range []string{"GREETING=hello world\nbye\n", "PATH=/usr/bin:/bin\n", "LANG=C.UTF-8\n", "HOME=", "USER=", "LOGNAME=", "SHELL=/", "REXGATE_EXECUTION=job.host\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	for _, no := range []string{"REXAGENT", "GOMAXPROCS", "GOCACHE", "another.host"} {
		if strings.Contains(out, no) {
			t.Errorf("%q in %q", no, out)
		}
	}
}

func TestDirectory(t *testing.T) {
	s := spec("pwd; umask")
	s.Dir = "/usr"
	if _, out, _ := run(t, s); out != "/usr\n0022\n" {
		t.Errorf("output %q", out)
	}
	s.Dir = "/nowhere/at/all"
	e, _, _ := run(t, s)
	if e.Outcome != wire.Failed || e.Seq != FirstSeq || !strings.Contains(e.Reason, "/nowhere/at/all") {
		t.Errorf("exit %+v", e)
	}
}

func TestNoExec(t *testing.T) {
	base := mount(t, syscall.MS_NOEXEC, "size=4m")
	for _, script := range []string{"#!/bin/sh\necho runs\n", "#!/usr/bin/env python3\nprint('runs')\n", "echo runs\n"} {
		dir := filepath.Join(base, "x")
		r := startIn(t, dir, spec(script))
		if e := r.end(); e.Outcome != wire.Succeeded || r.output(Stdout) != "runs\n" {
			t.Errorf("%q: %+v", script, e)
		}
		if err := exec.Command(filepath.Join(dir, scriptName)).Run(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("the file system isn't noexec: %v", err)
		}
		r.Close()
		if err := r.runner.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// mount makes a file system in memory.
func mount(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	base := t.TempDir()
	if err := syscall.Mount("tmpfs", base, "tmpfs", flags, options); err != nil {
		clienttest.Lacking(t, "mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(base, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return base
}

func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		clienttest.Lacking(t, "switch users: not root")
	}
	s := spec("#!/bin/sh\nid -un; id -gn; id -G; pwd; echo $HOME $USER $LOGNAME $SHELL; echo me > /tmp/x-$$ && stat -c %U /tmp/x-$$; rm /tmp/x-$$\ncat /proc/self/status | grep CapEff; ls -l $0 | cut -c1-10\n")
	s.User = "nobody"
	e, out, stderr := run(t, s)
	groups, err := exec.Command("id", "-G", "nobody").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "nobody\nnogroup\n" + string(groups) + "/\n/nonexistent nobody nobody /usr/sbin/nologin\nnobody\nCapEff:\t0000000000000000\n-rwx------\n"
	if e.Outcome != wire.Succeeded || out != want {
		t.Errorf("exit %+v, stderr %q, output\n%s\nwant\n%s", e, stderr, out, want)
	}
}

func TestUserIsRefused(t *testing.T) {
	s := spec("true")
	s.User = "no-such-user"
	_, err := New().Start(t.Context(), place(t), s)
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "no-such-user") {
		t.Errorf("error %v", err)
	}
	if os.Geteuid() != 0 {
		clienttest.Lacking(t, "close a directory to another user: not root")
	}
	dir := place(t)
	if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s.User = "nobody"
	_, err = New().Start(t.Context(), dir, s)
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "state directory") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was left: %v", err)
	}
}

func TestLookupAccountByGetent(t *testing.T) {
	a, ok, err := getent("nobody")
	b, okFile, errFile := passwdFile(func(f []string) bool { return f[0] == "nobody" })
	if err != nil || errFile != nil || !ok || !okFile || !reflect.DeepEqual(a, b) || a.UID != 65534 {
		t.Errorf("getent %+v %v, passwd %+v %v", a, ok, b, okFile)
	}
	if self, err := LookupAccount(""); err != nil || self.Switch || self.UID != uint32(os.Geteuid()) {
		t.Errorf("own account %+v, %v", self, err)
	}
	for _, bad := range []string{"-x", "a:b", "a\nb"} {
		if _, err := LookupAccount(bad); err == nil {
			t.Errorf("%q is a user", bad)
		}
	}
}

func TestTimeLimit(t *testing.T) {
	s := spec("trap 'echo term; exit 7' TERM\necho ready\nwhile :; do sleep 0.05; done")
	s.RunTimeout = 300 * time.Millisecond
	e, out, _ := run(t, s)
	if e.Outcome != wire.TimedOut || e.ExitCode != 7 || out != "ready\nterm\n" || !strings.Contains(e.Reason, "300ms") {
		t.Errorf("exit %+v, output %q", e, out)
	}
	s.Script = []byte("trap '' TERM\necho ready\nwhile :; do sleep 0.05; done")
	s.Grace = 200 * time.Millisecond
	e, out, _ = run(t, s)
	if e.Outcome != wire.TimedOut || e.Signal != "SIGKILL" || out != "ready\n" {
		t.Errorf("exit %+v, output %q", e, out)
	}
}

func TestLargeScript(t *testing.T) {
	var b strings.Builder
	b.WriteString("#!/bin/sh\n")
	for b.Len() < 1<<20-100 {
		fmt.Fprintf(&b, "# %0100d\n", b.Len())
	}
	b.WriteString("echo end\n")
	if e, out, _ := run(t, spec(b.String())); e.Outcome != wire.Succeeded || out != "end\n" {
		t.Errorf("exit %+v, output %q", e, out)
	}
}

// TestSupervisorEnvironment: a supervisor has one processor, and isn't taken for a part of the script that its agent
// was started by.
func TestSupervisorEnvironment(t *testing.T) {
	t.Setenv(executionVar, "upgrade.host")
	t.Setenv("GOMAXPROCS", "7")
	r := start(t, spec("exec sleep 1000"))
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", st.Supervisor.PID))
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	if !slices.Contains(env, "GOMAXPROCS=1") || slices.Contains(env, "GOMAXPROCS=7") || strings.Contains(string(b), executionVar) {
		t.Errorf("environment %q", env)
	}
}

// TestSessions: what is done to the agent's session or process group, whole groups killed, reaches neither supervisors nor
// scripts; nor does what a script does to its own reach its supervisor.
func TestSessions(t *testing.T) {
	r := start(t, spec("exec sleep 1000"))
	r.until(func(s Status) bool { return s.Last >= FirstSeq })
	st, err := readState(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	for who, p := range map[string]int{"supervisor": st.Supervisor.PID, "script": st.Script.PID} {
		session, err := unix.Getsid(p)
		if err != nil {
			t.Fatal(err)
		}
		if group, err := unix.Getpgid(p); err != nil || session != p || group != p {
			t.Errorf("the %s %d is in session %d and group %d; %v", who, p, session, group, err)
		}
	}
}
