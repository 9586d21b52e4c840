package sqlitequeue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// batch runs verbs in one batch: they gather while another holds the writer.
func (s *Store) batch(t *testing.T, run ...func(t *tx) error) []error {
	t.Helper()
	errs := make([]error, len(run))
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.write(context.Background(), 1, func(*tx) error { close(held); <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	for i, fn := range run {
		o := len(s.w.ops)
		wg.Go(func() { errs[i] = s.write(context.Background(), 1, fn) })
		for len(s.w.ops) == o { // in order
			runtime.Gosched()
		}
	}
	close(hold)
	wg.Wait()
	return errs
}

func setMeta(key string) func(t *tx) error {
	return func(t *tx) error {
		_, err := t.exec(`INSERT INTO meta VALUES (?, 1)`, key)
		return err
	}
}

func (s *Store) metaKeys(t *testing.T) string {
	t.Helper()
	var keys []string
	if err := s.read(context.Background(), func(c *sqlite.Conn) error {
		return query(c, func(st *sqlite.Stmt) error {
			keys = append(keys, st.ColumnText(0))
			return nil
		}, `SELECT key FROM meta ORDER BY key`)
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(keys, " ")
}

// TestBatch checks that verbs in one commit don't undo each other, whichever
// way one of them fails.
func TestBatch(t *testing.T) {
	refused := queue.Errorf(queue.Conflict, "refused")
	for _, c := range []struct {
		name string
		fail func(t *tx) error
		code queue.Code
		runs int // of the other three; they run again, but for the last, which hadn't run
	}{
		{"refused before a change", func(*tx) error { return refused }, queue.Conflict, 3},
		{"refused after a change", func(t *tx) error { return errors.Join(setMeta("half")(t), refused) }, queue.Conflict, 5},
		{"failed", func(t *tx) error { return t.query(nil, `SELECT no such column`) }, queue.Unavailable, 5},
		{"failed after a change", func(t *tx) error { return errors.Join(setMeta("half")(t), setMeta("half")(t)) }, queue.Unavailable, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t)
			runs := 0
			count := func(key string) func(t *tx) error {
				return func(t *tx) error { runs++; return setMeta(key)(t) }
			}
			errs := s.batch(t, count("a"), count("b"), c.fail, count("c"))
			if errs[0] != nil || errs[1] != nil || queue.CodeOf(errs[2]) != c.code || errs[3] != nil {
				t.Errorf("errors %v, want one, with code %q", errs, c.code)
			}
			if got := s.metaKeys(t); got != "a b c" {
				t.Errorf("stored: %q, want the verbs that didn't fail", got)
			}
			if runs != c.runs {
				t.Errorf("the other three ran %d times, want %d", runs, c.runs)
			}
			// The cache was cleared with what was undone.
			if err := s.write(context.Background(), 1, setMeta("d")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGivenUp checks that a verb whose caller has gone is not applied.
func TestGivenUp(t *testing.T) {
	s := openStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	given := make(chan error, 1)
	errs := s.batch(t, setMeta("a"), func(*tx) error {
		go func() { given <- s.write(ctx, 1, setMeta("late")) }()
		for len(s.w.ops) == 0 {
			runtime.Gosched()
		}
		cancel()
		given <- <-given // it has gone while the writer is busy
		return nil
	}, setMeta("b"))
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if err := <-given; queue.CodeOf(err) != queue.Unavailable || !errors.Is(err, context.Canceled) {
		t.Errorf("the verb that was given up: %v", err)
	}
	if got := s.metaKeys(t); got != "a b" {
		t.Errorf("stored: %q", got)
	}
}

func TestClosed(t *testing.T) {
	s := openStore(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := s.Alive(ctx, "gw", 1); queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("a verb after Close: %v", err)
	}
	if err := s.Subscribe(ctx, "gw", func(queue.Hint) {}); queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("Subscribe after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// TestHub checks that what waits for a slow subscriber is bounded.
func TestHub(t *testing.T) {
	var b hub
	u := b.subscribe("gw")
	<-u.wake
	if h := b.take(u); len(h.Hosts) != 0 {
		t.Errorf("first hint: %v", h)
	}
	b.send([]hint{{"gw", "a"}, {"gw", "a"}, {"other", "x"}, {"gw", "b"}})
	<-u.wake
	if h := b.take(u); len(h.Hosts) != 2 {
		t.Errorf("hint: %v, want a and b", h)
	}
	for i := range maxHinted + 1 {
		b.send([]hint{{"gw", queue.HostID(fmt.Sprint("h", i))}})
	}
	if len(u.hosts) > maxHinted {
		t.Errorf("%d hosts wait", len(u.hosts))
	}
	<-u.wake
	if h := b.take(u); len(h.Hosts) != 0 {
		t.Errorf("hint for too many: %d hosts, want none: all", len(h.Hosts))
	}
	b.unsubscribe("gw", u)
	if b.listening() {
		t.Error("somebody listens still")
	}
}

// TestReconcile damages a store in every way that Reconcile looks for.
func TestReconcile(t *testing.T) {
	s := openStore(t)
	ctx := context.Background()
	var targets []queue.Target
	for i := range 4 {
		h, err := s.Enroll(ctx, queue.Enrollment{Host: queue.HostID(fmt.Sprint("h", i))})
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, queue.Target{Host: h.ID, Incarnation: h.Incarnation})
	}
	n := queue.NewJob{Job: queue.Job{ID: queue.NewJobID(s.now()), Spec: queue.Spec{}.WithDefaults()}, Script: []byte("x"), Targets: targets}
	if _, _, err := s.Submit(ctx, n); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Expand(ctx, n.Job.ID, "test", 3); err != nil {
		t.Fatal(err)
	}
	c, err := s.Claim(ctx, queue.Claim{Host: "h0", Incarnation: 1, Gateway: "gw", Transport: queue.TransportSocket, Generation: "g"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Lease(ctx, queue.Fetch{Host: "h0", Session: c.Session, Gateway: "gw", Max: 1, TTL: 1e9})
	if err != nil || len(f.Deliveries) != 1 {
		t.Fatal(f, err)
	}
	x := f.Deliveries[0].Execution.ID()
	if _, err := s.Record(ctx, queue.HostEvents{Host: "h0", Incarnation: 1, Generation: "g", Events: []queue.Event{
		{Execution: x, Seq: 1, Kind: queue.EventAccepted, Token: f.Deliveries[0].Token},
		{Execution: x, Seq: 2, Kind: queue.EventOutput, Stream: queue.Stdout, Data: []byte("hello")},
		{Execution: x, Seq: 3, Kind: queue.EventOutput, Stream: queue.Stderr, Data: []byte("world!")},
	}}); err != nil {
		t.Fatal(err)
	}
	before, err := s.Job(ctx, n.Job.ID)
	if err != nil {
		t.Fatal(err)
	}
	reconcile := func() []string {
		var all []string
		for range 2 { // the second goes on from the end
			repairs, err := s.Reconcile(ctx, 10)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, repairs...)
		}
		return all
	}
	if got := reconcile(); len(got) != 0 {
		t.Fatalf("Reconcile of a sound store: %q", got)
	}
	for _, damage := range []struct{ sql, want string }{
		{`UPDATE progress SET queued = queued + 7, lost = 1`, "counter queued was 9, is 2"},
		{`UPDATE progress SET finished_at = 1`, "was taken as ended: true, is: false"},
		{`UPDATE progress SET open = 0, next = 4`, "was taken as expanded, has 1 planned targets"},
		{`UPDATE progress SET output_bytes = 3`, "bytes of output were 3, are 11"},
		{`UPDATE execution SET turn = NULL WHERE state = 'q'`, "2 executions had a wrong place"},
		{`UPDATE execution SET wake_at = NULL WHERE state = 'q'`, "2 executions had a wrong place"},
		{`UPDATE execution SET wake_at = wake_at + 1 WHERE state = 'q'`, "2 executions had a wrong place"},
		{`UPDATE execution SET turn = turn + 1 WHERE state = 'q'`, "2 executions had a wrong place"},
		{`UPDATE execution SET lapse_at = NULL, turn = 5 WHERE state = 'r'`, "1 executions had a wrong place"},
		{`UPDATE execution SET turn = 5, wake_at = 1 WHERE state = 'p'`, "1 executions had a wrong place"},
		{`DELETE FROM output WHERE seq = 3`, "execution 0 has 5 bytes of stdout and 0 of stderr, said 5 and 6"},
	} {
		if err := s.write(ctx, 1, func(t *tx) error { _, err := t.exec(damage.sql); return err }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(reconcile(), "\n"); !strings.Contains(got, damage.want) || !strings.Contains(got, string(n.Job.ID)) {
			t.Errorf("Reconcile after %s: %q, want %q", damage.sql, got, damage.want)
		}
		if got := reconcile(); len(got) != 0 {
			t.Errorf("Reconcile again after %s: %q", damage.sql, got)
		}
		after, err := s.Job(ctx, n.Job.ID)
		if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("after %s: %+v, was %+v, %v", damage.sql, after, before, err)
		}
	}
	e, err := s.Execution(ctx, n.Job.ID, "h0")
	if err != nil || e.Output.Gap != 6 || e.Output.Stderr != 0 {
		t.Errorf("output that was lost: %+v, want a gap of 6 bytes (%v)", e.Output, err)
	}
	if x, err := s.Expand(ctx, n.Job.ID, "test", 10); err != nil || x.Released != 1 || !x.Done {
		t.Errorf("Expand after all: %+v, %v", x, err)
	}
}
