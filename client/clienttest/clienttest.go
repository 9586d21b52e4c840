// Package clienttest has what tests with real programs share: waiting for what nothing announces, and finding
// what a machine may lack.
package clienttest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// patience bounds a wait; what is waited for comes much sooner, but on a machine that does much else.
	patience = 2 * time.Minute
	// pause is between two looks at what is waited for.
	pause = 5 * time.Millisecond
)

// Until blocks until ok, which it calls again and again, gives true; it ends the test if that takes longer than two
// minutes. It is for what nothing announces: what can be received or read is waited for there.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Lacking skips a test that can't do what it needs on this machine. It fails it where REXGATE_TEST_REQUIRE=1 says
// that all tests must run.
func Lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatalf("required, but can't "+format, args...)
	}
	t.Skipf("can't "+format, args...)
}

// Program gives the path of the first of some programs that is installed, by name or by path. The folders of system
// programs are looked at too, whoever runs the test. Without any of them the test is Lacking.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, dir := range []string{"", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path
			}
			if filepath.IsAbs(name) {
				break
			}
		}
	}
	Lacking(t, "find a program: none of %q is installed", names)
	return ""
}

// Dir makes a directory that is reached by other users as mode says, as none below the test's own are. It is removed
// with the test, as far as that can be done: processes may be about to end in it.
func Dir(t testing.TB, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rexgate-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// FreePort gives a TCP port of the loopback that nothing listened on just now.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
