package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("REXCTL_TEST_AS_MAIN") != "" {
		main()
	}
	testscript.Main(leakChecked{m}, map[string]func(){"rexctl": main})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	status := l.m.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return status
}

// TestScripts holds rexctl's behaviour: a script a topic. Each has a server of its own with the
// hosts web1, web2, db1, and db2, which is offline.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			g := newGate(env.T().(testing.TB), "web1", "web2", "db1", "db2!")
			env.Values["gate"] = g
			token := filepath.Join(env.WorkDir, "token")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("REXCTL_SERVER", g.url)
			env.Setenv("REXCTL_TOKEN_FILE", token)
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every rexctl sleeps for a second at its end
			return os.WriteFile(token, []byte(g.token+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  cmdExits,
			"online": func(ts *testscript.TestScript, _ bool, args []string) { gateOf(ts).online(args[0]) },
			"double": func(ts *testscript.TestScript, _ bool, args []string) { gateOf(ts).double(args[0]) },
			"setenv": cmdSetenv,
			"narrow": cmdNarrow,
		},
	})
}

func gateOf(ts *testscript.TestScript) *gate { return ts.Value("gate").(*gate) }

// cmdExits runs a command and compares its exit status.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Logf("[stdout]\n%s[stderr]\n%s", ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// cmdSetenv sets a variable to what a pattern's group matches in the last output.
func cmdSetenv(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if m == nil {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[len(m)-1])
}

// cmdNarrow checks that a text fits into 80 columns.
func cmdNarrow(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.SplitSeq(ts.ReadFile(args[0]), "\n") {
		if n := len([]rune(line)); n > 80 {
			ts.Fatalf("%d columns: %s", n, line)
		}
	}
}

// TestInterrupted detaches from a job: the job goes on, the exit status says so.
func TestInterrupted(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) { interrupt(t, sig) })
	}
}

func interrupt(t *testing.T, sig os.Signal) {
	g := newGate(t, "web1")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(g.token), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "job", "run", "--server", g.url, "--host", "web1", "--", "echo begun; sleep 60")
	cmd.Env = append(os.Environ(), "REXCTL_TEST_AS_MAIN=1", "REXCTL_TOKEN_FILE="+token)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := io.ReadFull(out, b); err != nil || string(b) != "begun\n" {
		t.Fatalf("%q %v", b, err)
	}
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit status %d", code)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.jobs[0]
	for _, want := range []string{"Interrupted. The job goes on: 0 of 1 host done.", "\n  rexctl --server=" + g.url + " job watch " + j.ID + "\n", " job cancel " + j.ID + "\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not in:\n%s", want, stderr.String())
		}
	}
	if j.FinishedAt != nil {
		t.Error("the job was ended")
	}
}
