package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// A difference between records and what is derived from them is repaired, and never silently: a line in the log names the
// job and the difference, and a metric counts it.
func TestRepairsAreTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	store, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	var lines logLines
	b := newBedOn(t, store, newSigner(t), func(c *ServerConfig) {
		c.Gateway.Keeper.Reconcile = 20 * time.Millisecond
		c.Gateway.Log = slog.New(slog.NewJSONHandler(io.MultiWriter(&lines, testLog{t}), nil))
	})
	b.enroll("web-1", nil)
	job := b.submit(api.JobRequest{Script: "true", All: true})
	b.inState(job.ID, "web-1", "queued")
	if text := b.metrics(); !strings.Contains(text, "rexgate_repairs_total 0\n") {
		t.Error("repairs are counted of a sound store")
	}
	c, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	c.SetBusyTimeout(10 * time.Second)
	for i := range 2 {
		if err := sqlitex.ExecuteTransient(c, fmt.Sprintf(`UPDATE progress SET lost = %d`, 7+i), nil); err != nil {
			t.Fatal(err)
		}
		counted := fmt.Sprintf("rexgate_repairs_total %d\n", i+1)
		until(t, counted, func() bool { return strings.Contains(b.metrics(), counted) })
		said := fmt.Sprintf(`"difference":"job %s: counter lost was %d, is 0"`, job.ID, 7+i)
		until(t, said, func() bool { return lines.count(said) == 1 })
		if got := b.job(job.ID).Counters["lost"]; got != 0 {
			t.Errorf("repaired, and %d are lost", got)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n := lines.count(`"difference"`); n != 2 {
		t.Errorf("%d lines for 2 differences", n)
	}
}

// logLines keeps what is logged.
type logLines struct {
	mu  sync.Mutex // guards all
	all strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *logLines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), part)
}
