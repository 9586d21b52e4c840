package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// asProgram makes the test's binary be rexgate.
const asProgram = "REXGATE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "1" {
		main()
	}
	os.Exit(m.Run())
}

// rexgate prepares a run of rexgate in a directory, with an environment of its own.
func rexgate(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = []string{asProgram + "=1", "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// result is how a run ended.
type result struct {
	status   int
	out, err string
}

func runs(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errw.String()}
}

// fails demands a status and one line that says why.
func fails(t *testing.T, r result, status int, says ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.err), "\n")
	last := lines[len(lines)-1]
	if r.status != status || !strings.HasPrefix(last, "rexgate: ") {
		t.Fatalf("status %d, want %d: %q", r.status, status, r.err)
	}
	for _, s := range says {
		if !strings.Contains(last, s) {
			t.Errorf("says %q, not %q", last, s)
		}
	}
	for _, l := range lines[:len(lines)-1] {
		if !strings.HasPrefix(l, "time=") {
			t.Errorf("more than one line: %q", r.err)
		}
	}
}

// served is a gateway that runs.
type served struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string
	out   string // up to where it listens
	rest  chan string
	ended chan error
}

func serve(t *testing.T, dir string, args ...string) *served {
	t.Helper()
	cmd := rexgate(t, dir, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, cmd: cmd, rest: make(chan string, 1), ended: make(chan error, 1)}
	out := bufio.NewReader(pipe)
	if s.out, err = out.ReadString('\n'); err != nil {
		t.Fatalf("it says nothing: %v", err)
	}
	go func() {
		rest, _ := io.ReadAll(out)
		s.rest <- string(rest)
		s.ended <- cmd.Wait()
	}()
	s.url = regexp.MustCompile(`https?://[0-9.:]+`).FindString(s.out)
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log.String())
		}
		if strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("the gateway logged errors:\n%s", log.String())
		}
	})
	return s
}

// end signals the gateway and gives what else it said, and its status.
func (s *served) end(sig os.Signal) (rest string, status int) {
	s.t.Helper()
	if s.rest == nil {
		return "", 0
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
	rest = <-s.rest
	<-s.ended
	s.rest = nil
	return rest, s.cmd.ProcessState.ExitCode()
}

func (s *served) ask(method, path, token string, body any) (int, []byte) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, answer
}
