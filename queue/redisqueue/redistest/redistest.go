// Package redistest runs real redis-servers for tests: on free ports of the
// loopback, with an append-only file in a directory of the test's, ended with the
// test. A test on a machine without redis-server is skipped, or fails
// if REXGATE_TEST_REQUIRE=1 says that nothing may be skipped.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a server may take to load its data and listen.
const startTimeout = 30 * time.Second

// Server is a redis-server.
type Server struct {
	Addr string // host:port
	URL  string // redis://host:port/0

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// binary finds redis-server, or ends the test.
func binary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err == nil {
		return path
	}
	if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatal("redis-server is not installed, and REXGATE_TEST_REQUIRE=1 allows no skip: apt-get install redis-server")
	}
	t.Skip("redis-server is not installed: apt-get install redis-server")
	return ""
}

// Start runs a server, with further arguments of redis-server's, and returns
// when it serves. It fails the test if it can't.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	path := binary(t)
	dir := t.TempDir()
	for range 10 {
		port := freePort(t)
		s := &Server{t: t, Addr: "127.0.0.1:" + strconv.Itoa(port)}
		s.URL = "redis://" + s.Addr + "/0"
		s.args = append([]string{path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no", "--enable-debug-command", "yes"}, args...)
		err := s.start()
		if err == nil {
			t.Cleanup(s.Kill)
			return s
		}
		if !strings.Contains(err.Error(), "in use") {
			t.Fatalf("redis-server: %v", err)
		}
	}
	t.Fatal("redis-server: no free port in 10 tries")
	return nil
}

// start runs the process and waits until it says that it serves.
func (s *Server) start() error {
	cmd := exec.Command(s.args[0], s.args[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		defer close(done)
		var log []string
		told := false
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if log = append(log, sc.Text()); len(log) > 50 {
				log = log[1:]
			}
			if !told && (strings.Contains(sc.Text(), "Ready to accept connections") || strings.Contains(sc.Text(), "+monitor master")) {
				told = true
				ready <- nil
			}
		}
		err := cmd.Wait()
		if !told {
			ready <- fmt.Errorf("ended (%v): %s", err, strings.Join(log, "\n"))
		}
	}()
	s.cmd, s.done = cmd, done
	select {
	case err := <-ready:
		return err
	case <-time.After(startTimeout):
		_ = cmd.Process.Kill()
		<-done
		return fmt.Errorf("not ready within %v", startTimeout)
	}
}

// Kill ends the server with SIGKILL, and returns when it is gone. What it
// hadn't written to its append-only file's page cache is lost. Killing twice is harmless.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop ends the server in good order.
func (s *Server) Stop() { s.signal(syscall.SIGTERM) }

func (s *Server) signal(sig syscall.Signal) {
	select {
	case <-s.done:
		return
	default:
	}
	_ = s.cmd.Process.Signal(sig)
	<-s.done
}

// Restart runs the server again on the same port and data, ending it first if
// it runs, and returns when it serves.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server: restart: %v", err)
	}
}

// Pause stops the server from running without ending it; Resume goes on.
func (s *Server) Pause() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume is the inverse of Pause.
func (s *Server) Resume() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// freePort gives a port that was free a moment ago; whoever takes it meanwhile
// makes redis-server fail, and Start try another.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
