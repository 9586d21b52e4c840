package sqlitequeue

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/rexgate/rexgate/queue"
)

// ask gives the first column of a query, row by row.
func (s *Store) ask(t *testing.T, sql string) string {
	t.Helper()
	var all []string
	if err := s.read(context.Background(), func(c *sqlite.Conn) error {
		return query(c, func(st *sqlite.Stmt) error {
			all = append(all, st.ColumnText(0))
			return nil
		}, sql)
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, ", ")
}

func (s *Store) exec(t *testing.T, sql string) {
	t.Helper()
	if err := s.write(context.Background(), 1, func(x *tx) error { _, err := x.exec(sql); return err }); err != nil {
		t.Fatal(err)
	}
}

// keyedJob submits a job of ann's with a supersede key, and releases it.
func (s *Store) keyedJob(t *testing.T, key string, hosts ...queue.HostID) queue.JobID {
	t.Helper()
	spec := queue.Spec{SupersedeKey: key}.WithDefaults()
	n := queue.NewJob{Job: queue.Job{ID: queue.NewJobID(s.now()), Spec: spec, CreatedBy: "ann"}, Script: []byte("x")}
	for _, h := range hosts {
		n.Targets = append(n.Targets, queue.Target{Host: h, Incarnation: 1})
	}
	if _, _, err := s.Submit(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if x, err := s.Expand(t.Context(), n.Job.ID, "test", 1000); err != nil || !x.Done {
		t.Fatal(x, err)
	}
	return n.Job.ID
}

// policyStore is a store with hosts and a clock that moves when told.
func policyStore(t *testing.T, hosts int) (s *Store, ids []queue.HostID, now *time.Time) {
	t.Helper()
	at := time.UnixMilli(1_700_000_000_000)
	now = &at
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	for i := range hosts {
		ids = append(ids, queue.HostID(fmt.Sprint("h", i)))
		if _, err := s.Enroll(t.Context(), queue.Enrollment{Host: ids[i]}); err != nil {
			t.Fatal(err)
		}
	}
	return s, ids, now
}

// TestNewestGoes holds that nothing of a key is left when its jobs are gone, and all that is needed while they aren't.
func TestNewestGoes(t *testing.T) {
	s, hosts, now := policyStore(t, recordPiece+50) // more than is removed in one go
	older := s.keyedJob(t, "k", hosts...)
	*now = now.Add(time.Hour)
	other := s.keyedJob(t, "other", hosts[0])
	newer := s.keyedJob(t, "k", hosts[1:]...)
	if got := s.ask(t, `SELECT count(*) || ' ' || job FROM newest_jobs WHERE key = 'k' GROUP BY job ORDER BY count(*)`); got != "1 "+string(older)+", 549 "+string(newer) {
		t.Errorf("newest jobs: %s", got)
	}
	remove := func(age time.Duration) {
		t.Helper()
		for more := true; more; {
			sw, err := s.Sweep(t.Context(), 1000, queue.Retention{RecordAge: age})
			if err != nil {
				t.Fatal(err)
			}
			more = sw.More
		}
	}
	if _, err := s.Cancel(t.Context(), newer, nil, "ann"); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Hour)
	remove(time.Minute)
	if got := s.ask(t, `SELECT key || ' ' || host || ' ' || job FROM newest_jobs ORDER BY key`); got != fmt.Sprintf("k h0 %s, other h0 %s", older, other) {
		t.Errorf("after the newer job is removed: %s", got)
	}
	if got := s.ask(t, `SELECT count(*) FROM newest`); got != "2" {
		t.Errorf("%s rows are left", got)
	}
	if j, err := s.Job(t.Context(), older); err != nil || j.Spec.SupersedeKey != "k" {
		t.Errorf("the older job: %+v, %v", j, err)
	}
	for range 2 {
		if lines, err := s.Reconcile(t.Context(), 10); len(lines) != 0 || err != nil {
			t.Errorf("Reconcile after the newer job is removed: %q, %v", lines, err)
		}
	}
	for _, id := range []queue.JobID{older, other} {
		if _, err := s.Cancel(t.Context(), id, nil, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	*now = now.Add(time.Hour)
	remove(time.Minute)
	if got := s.ask(t, `SELECT (SELECT count(*) FROM newest) || ' ' || (SELECT count(*) FROM supersede_key) || ' ' || (SELECT count(*) FROM job)`); got != "0 0 0" {
		t.Errorf("left of newest, keys, jobs: %s", got)
	}
}

// TestReconcileNewest damages what is known of the newest jobs.
func TestReconcileNewest(t *testing.T) {
	s, hosts, now := policyStore(t, 3)
	older := s.keyedJob(t, "k", hosts...)
	*now = now.Add(time.Second)
	newer := s.keyedJob(t, "k", hosts...)
	reconcile := func() string {
		t.Helper()
		var all []string
		for range 2 {
			lines, err := s.Reconcile(t.Context(), 10)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, lines...)
		}
		return strings.Join(all, "\n")
	}
	if got := reconcile(); got != "" {
		t.Fatalf("a sound store: %s", got)
	}
	s.exec(t, `UPDATE newest SET job = (SELECT min(n) FROM job) WHERE host IN (SELECT n FROM host WHERE id <> 'h0')`)
	if got, want := reconcile(), "job "+string(newer)+": on 2 hosts an older job was taken as the newest of its key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := s.ask(t, `SELECT count(*) FROM newest_jobs WHERE job = '`+string(newer)+`'`); got != "3" {
		t.Errorf("the newest on %s hosts", got)
	}
	s.exec(t, `DELETE FROM newest WHERE host IN (SELECT n FROM host WHERE id <> 'h0')`)
	if got, want := reconcile(), "job "+string(newer)+": on 2 hosts it was missing as the newest of its key"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := s.ask(t, `SELECT count(*) FROM newest_jobs WHERE job = '`+string(newer)+`'`); got != "3" {
		t.Errorf("once missing, the newest on %s hosts", got)
	}
	s.exec(t, `UPDATE execution SET state = 'q', turn = 100, wake_at = deliver_until, finished_at = NULL WHERE host = 1 AND id < 2097152`)
	// Two counters, the job's end, and the execution itself: all of one repair.
	if got := reconcile(); !strings.Contains(got, "job "+string(older)+": 1 executions waited though a newer job of their key was released") || strings.Count(got, "\n") != 3 {
		t.Errorf("%q", got)
	}
	if got := reconcile(); got != "" {
		t.Errorf("after the repair: %s", got)
	}
	x, err := s.Execution(t.Context(), older, "h0")
	if j, e := s.Job(t.Context(), older); err != nil || e != nil || x.Result.Reason != queue.WhySuperseded(newer) || j.Counters[queue.Cancelled] != 3 || j.Counters[queue.Queued] != 0 {
		t.Errorf("repaired: %+v, %+v, %v, %v", x, j, err, e)
	}
}

// TestMigrate opens a store as schema 1 left it.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	f, err := schemas.Open("schema/001.sql")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	script, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sqlite.OpenConn(path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(1_700_000_000_000)
	in := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	old := fmt.Sprintf(`%s;
		PRAGMA application_id = %d; PRAGMA user_version = 1;
		INSERT INTO meta VALUES ('service_last', %d), ('service_ms', 5000);
		INSERT INTO host (n, id, incarnation, enrolled_at, token, labels) VALUES (1, 'live', 1, 1, '', '{}'), (2, 'polls', 1, 1, '', '{}'), (3, 'overdue', 1, 1, '', '{}');
		INSERT INTO gateway VALUES ('gw', %d);
		INSERT INTO session (host, epoch, gateway, transport, since, due_at, n, given, agent_version, boot_id, generation, nonce) VALUES
			(1, 1, 'gw', 'socket', 1, NULL, 0, 0, '', '', '', ''), (2, 1, 'gw', 'poll', 1, %d, 0, 0, '', '', '', ''), (3, 1, 'gw', 'poll', 1, %d, 0, 0, '', '', '', '');
		INSERT INTO job VALUES (1, '06g3h2k1m0000000000000000', 1, 'active', 'old', 'default', 0, NULL, 1000, 1000, 1000, 1000, '', '', 1, '', 1, 'ann', '', '', 1);
		INSERT INTO job_payload VALUES (1, 'x', NULL);
		INSERT INTO progress (job, open, next, record_bytes, planned) VALUES (1, 1, 0, 1, 1);
		INSERT INTO execution (id, host, incarnation, state, lane) VALUES (1048576, 1, 1, 'p', 'default');`,
		script, applicationID, now.UnixMilli(), in(40*time.Second), in(40*time.Second), in(-time.Second))
	if err := sqlitex.ExecuteScript(c, old, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Path: path, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	j, err := s.Job(t.Context(), "06g3h2k1m0000000000000000")
	if err != nil || j.Spec.Offline != queue.OfflineWait || j.Spec.SupersedeKey != "" || j.Spec.Recheck != "" || j.Spec.Name != "old" {
		t.Errorf("the old job: %+v, %v", j, err)
	}
	if x, err := s.Expand(t.Context(), j.ID, "test", 10); err != nil || x.Released != 1 {
		t.Errorf("its release: %+v, %v", x, err)
	}
	if got := s.ask(t, `SELECT (SELECT alive_service FROM gateway) || ' ' || group_concat(coalesce(due_service, '-'), ' ') FROM (SELECT * FROM session ORDER BY host)`); got != "45000 - 45000 5000" {
		t.Errorf("alive and due in service time: %s", got)
	}
	spec := queue.Spec{Offline: queue.OfflineSkip}.WithDefaults()
	n := queue.NewJob{Job: queue.Job{ID: queue.NewJobID(now), Spec: spec}, Script: []byte("x"), Targets: []queue.Target{{Host: "live", Incarnation: 1}, {Host: "polls", Incarnation: 1}, {Host: "overdue", Incarnation: 1}}}
	if _, _, err := s.Submit(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if x, err := s.Expand(t.Context(), n.Job.ID, "test", 10); err != nil || x != (queue.Expansion{Released: 2, Passed: 1, Done: true}) {
		t.Errorf("a release that skips: %+v, %v", x, err)
	}
}
