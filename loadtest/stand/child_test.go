package stand

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/client/clienttest"
)

// TestDieWithParent kills the process that put a stand up: the stand's processes go, too.
func TestDieWithParent(t *testing.T) {
	for _, store := range []string{SQLite, Redis} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			if store == Redis {
				clienttest.Program(t, "redis-server")
			}
			parent := startHelper(t, "stand", rexgate, store, t.TempDir())
			var pids []int
			for line := parent.line(); line != "ready"; line = parent.line() {
				pid, err := strconv.Atoi(line)
				if err != nil {
					t.Fatal(line)
				}
				pids = append(pids, pid)
			}
			t.Cleanup(func() {
				for _, pid := range pids {
					if !ended(pid) {
						_ = unix.Kill(pid, unix.SIGKILL)
					}
				}
			})
			if err := parent.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				clienttest.Until(t, strconv.Itoa(pid)+" has ended", func() bool { return ended(pid) })
			}
		})
	}
}

// TestChildEnv keeps the settings of whoever measures out of what is measured.
func TestChildEnv(t *testing.T) {
	got := cleanEnv([]string{"PATH=/bin", "REXGATE_LISTEN=:1", "https_proxy=x", "NO_PROXY=y", "GOGC=50"})
	if want := []string{"PATH=/bin", "GOGC=50"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestOutputIsBounded writes more than is kept: the last of it stays.
func TestOutputIsBounded(t *testing.T) {
	o := newOutput()
	for range 100 {
		if _, err := o.Write(bytes.Repeat([]byte("x"), 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if text := o.String(); len(text) != maxOutput || !strings.HasSuffix(text, "the end") {
		t.Errorf("%d bytes, ending in %q", len(text), text[max(0, len(text)-10):])
	}
}

// helperProc is this program, doing something else.
type helperProc struct {
	t   *testing.T
	cmd *exec.Cmd
	in  interface {
		Write([]byte) (int, error)
		Close() error
	}
	lines chan string
}

func startHelper(t *testing.T, what string, args ...string) *helperProc {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &helperProc{t: t, cmd: exec.Command(exe, args...), lines: make(chan string, 100)}
	h.cmd.Env = append(os.Environ(), helper+"="+what)
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(h.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			h.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		h.in.Close()
		_ = h.cmd.Process.Kill()
		<-read
		_ = h.cmd.Wait() // how it ended was seen by the test
	})
	return h
}

// line gives the next line that the helper prints.
func (h *helperProc) line() string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	select {
	case line, ok := <-h.lines:
		if !ok {
			h.t.Fatal("the helper has ended")
		}
		return line
	case <-ctx.Done():
		h.t.Fatal("the helper says nothing")
	}
	return ""
}
