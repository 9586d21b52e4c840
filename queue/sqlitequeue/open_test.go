package sqlitequeue_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// refused opens a store that can't be opened, and checks the one line that says
// why.
func refused(t *testing.T, path string, code queue.Code, words ...string) {
	t.Helper()
	s, err := sqlitequeue.Open(context.Background(), sqlitequeue.Options{Path: path, Log: quiet()})
	if err == nil {
		s.Close()
		t.Fatal("Open: no error")
	}
	if queue.CodeOf(err) != code || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open: %v (code %q), want code %q", err, queue.CodeOf(err), code)
	}
	for _, w := range append(words, path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Open: %v: doesn't tell %q", err, w)
		}
	}
}

// script runs SQL on a file.
func script(t *testing.T, path, sql string) {
	t.Helper()
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sqlitex.ExecuteScript(c, sql, nil); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Run("a second opener in this process", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, sqlitequeue.Options{Path: path})
		refused(t, path, queue.Conflict, "in use by another process")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, sqlitequeue.Options{Path: path}) // free again
	})
	t.Run("another process", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		cmd, lines := startChild(t, "hold", path)
		if !lines.Scan() || lines.Text() != "open" {
			t.Fatalf("the child says %q", lines.Text())
		}
		refused(t, path, queue.Conflict, "in use by another process (pid ")
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		open(t, sqlitequeue.Options{Path: path}) // a killed process holds nothing
	})
	t.Run("text", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "notes.txt")
		if err := os.WriteFile(path, []byte("remember the milk\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, queue.Invalid, "not an SQLite file")
		if b, err := os.ReadFile(path); err != nil || string(b) != "remember the milk\n" {
			t.Errorf("the file is now %q, %v", b, err)
		}
	})
	t.Run("a damaged file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path, append([]byte("SQLite format 3\x00"), make([]byte, 8192)...), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, queue.Invalid)
	})
	t.Run("another program's file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "other.db")
		script(t, path, `CREATE TABLE song (title TEXT); INSERT INTO song VALUES ('x');`)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, path, queue.Invalid, "another program")
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file was changed, %v", err)
		}
	})
	t.Run("a newer schema", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := open(t, sqlitequeue.Options{Path: path}).Close(); err != nil {
			t.Fatal(err)
		}
		script(t, path, `PRAGMA user_version = 99`)
		refused(t, path, queue.Invalid, "newer", "schema 99")
	})
	t.Run("no directory", func(t *testing.T) {
		refused(t, filepath.Join(t.TempDir(), "missing", "store.db"), queue.Unavailable, "no such file or directory")
	})
	t.Run("a directory", func(t *testing.T) {
		refused(t, t.TempDir(), queue.Unavailable, "is a directory")
	})
	t.Run("a path below a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, filepath.Join(file, "store.db"), queue.Unavailable, "not a directory")
	})
}

// TestFile checks what others see of the file: that it is the owner's alone, and
// that a person can read it.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlitequeue.Options{Path: path})
	ctx := context.Background()
	h, err := s.Enroll(ctx, queue.Enrollment{Host: "h", Labels: map[string]string{"role": "web"}})
	if err != nil {
		t.Fatal(err)
	}
	job := submitTo(t, s, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	if _, err := s.Cancel(ctx, job, nil, "ann"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm", path + "-lock"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for sql, want := range map[string]string{
		`SELECT host || ' ' || state || ' ' || reason FROM executions`:             "h cancelled cancelled by ann",
		`SELECT control || ' ' || targets || ' ' || cancelled FROM jobs`:           "cancelled 1 1",
		`SELECT id || ' ' || incarnation || ' ' || (labels ->> 'role') FROM hosts`: "h 1 web",
	} {
		got := ""
		if err := sqlitex.ExecuteTransient(c, sql, &sqlitex.ExecOptions{ResultFunc: func(st *sqlite.Stmt) error {
			got = st.ColumnText(0)
			return nil
		}}); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", sql, got, want, err)
		}
	}
}

// submitTo stores a job.
func submitTo(t testing.TB, s *sqlitequeue.Store, targets ...queue.Target) queue.JobID {
	t.Helper()
	n := newJob(targets...)
	if _, _, err := s.Submit(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	return n.Job.ID
}
