package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// fifo makes a named pipe that a script can wait at, and gives its path.
func fifo(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unblock lets the script at the pipe go on.
func unblock(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "fifo"), []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
