package sqlitequeue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// TestKill kills a process that works on the store in random moments, again
// and again on the same file, and looks for all that was acknowledged to it.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	facts := map[string]bool{}
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		cmd, lines := startChild(t, "load", path)
		kill := 20 + rand.IntN(300)
		for n := 0; lines.Scan(); n++ {
			line := lines.Text()
			if strings.HasPrefix(line, "error") {
				t.Fatal(line)
			}
			facts[line] = true
			if n == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait()
		if got := cmd.ProcessState.String(); got != "signal: killed" {
			t.Fatalf("round %d: the child ended by itself: %s", round, got)
		}
		checkIntegrity(t, path)
		s := open(t, sqlitequeue.Options{Path: path})
		checkFacts(t, s, facts)
		repairs, err := s.Reconcile(context.Background(), 1_000_000)
		if err != nil || len(repairs) > 0 {
			t.Errorf("round %d: Reconcile: %v, %v", round, repairs, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d acknowledged facts in %d rounds", len(facts), rounds)
}

// checkIntegrity lets SQLite check the file.
func checkIntegrity(t *testing.T, path string) {
	t.Helper()
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := sqlitex.ExecuteTransient(c, `PRAGMA integrity_check`, &sqlitex.ExecOptions{ResultFunc: func(st *sqlite.Stmt) error {
		if got := st.ColumnText(0); got != "ok" {
			t.Errorf("integrity_check: %s", got)
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
}

func checkFacts(t *testing.T, s *sqlitequeue.Store, facts map[string]bool) {
	t.Helper()
	ctx := context.Background()
	for fact := range facts {
		words := strings.Fields(fact)
		switch words[0] {
		case "job", "cancelled":
			j, err := s.Job(ctx, queue.JobID(words[1]))
			if err != nil || j.Counters.Total() != loadHosts {
				t.Errorf("%s: %+v, %v", fact, j.Counters, err)
			}
			if words[0] == "cancelled" && (j.Control != queue.ControlStopped || j.Counters[queue.Planned]+j.Counters[queue.Queued] > 0) {
				t.Errorf("%s: %s %+v", fact, j.Control, j.Counters)
			}
		case "leased", "stored", "ended":
			job, host, err := queue.ExecutionID(words[1]).Split()
			if err != nil {
				t.Fatal(err)
			}
			x, err := s.Execution(ctx, job, host)
			if err != nil {
				t.Errorf("%s: %v", fact, err)
				continue
			}
			checkExecution(t, s, fact, x)
		}
	}
}

func checkExecution(t *testing.T, s *sqlitequeue.Store, fact string, x queue.Execution) {
	t.Helper()
	var id string
	var seq int64
	if n, _ := fmt.Sscanf(fact, "stored %s %d", &id, &seq); n == 2 {
		chunks, err := s.Output(context.Background(), queue.OutputQuery{Job: x.Job, Host: x.Host, Limit: queue.MaxOutputPage})
		if err != nil || x.Stored < seq || int64(len(chunks)) < seq-1 {
			t.Errorf("%s: stored %d, %d chunks, %v", fact, x.Stored, len(chunks), err)
			return
		}
		if got, want := string(chunks[seq-2].Data), fmt.Sprintf("%s %d\n", id, seq); got != want {
			t.Errorf("%s: chunk %q, want %q", fact, got, want)
		}
	}
	if strings.HasPrefix(fact, "ended") && x.State != queue.Succeeded || x.Deliveries == 0 {
		t.Errorf("%s: %v after %d deliveries", fact, x.State, x.Deliveries)
	}
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	cmd, lines := startChild(t, "full", path)
	var last string
	for lines.Scan() {
		if last = lines.Text(); strings.HasPrefix(last, "error") {
			t.Error(last)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	var hosts, acknowledged int
	if _, err := fmt.Sscanf(last, "hosts %d acknowledged %d", &hosts, &acknowledged); err != nil || hosts != acknowledged || hosts < 2 {
		t.Errorf("the child says %q", last)
	}
	checkIntegrity(t, path)
}
