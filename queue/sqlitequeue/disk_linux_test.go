package sqlitequeue_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// TestDiskWithoutRoom fills the file system of the store while hosts work: what was acknowledged stays, the rest
// is refused with a reason, and all goes on when there is room, without a restart.
func TestDiskWithoutRoom(t *testing.T) {
	ctx := context.Background()
	d := queuetest.NewDisk(t, 16<<20)
	path := filepath.Join(d.Dir, "store.db")
	s := open(t, sqlitequeue.Options{Path: path})
	record, id := running(t, s, "h")
	job, _, _ := id.Split()
	var mu sync.Mutex // guards jobs
	var jobs []queue.JobID
	submit := func() error {
		n := newJob(queue.Target{Host: "h", Incarnation: 1})
		n.Script = []byte(strings.Repeat("# a long line of a script that needs room\n", 500))
		n.Job.ScriptSize, n.Job.ScriptSHA256 = int64(len(n.Script)), queue.ScriptDigest(n.Script)
		_, _, err := s.Submit(ctx, n)
		if err == nil {
			mu.Lock()
			jobs = append(jobs, n.Job.ID)
			mu.Unlock()
		}
		return err
	}
	var wg sync.WaitGroup
	full := make(chan error, 4)
	for range cap(full) {
		wg.Go(func() {
			var err error
			for err == nil {
				err = submit()
			}
			full <- err
		})
	}
	wg.Wait()
	d.Fill()
	for range cap(full) {
		checkRefused(t, <-full, "make room, then it goes on by itself")
	}
	checkRefused(t, submit(), "make room")
	output := func(seq int64) queue.Event {
		return queue.Event{Execution: id, Seq: seq, Kind: queue.EventOutput, Stream: queue.Stdout, Data: make([]byte, queue.MaxChunk)}
	}
	// Once the write-ahead log is folded into the file, there is some room in it.
	seq, err := int64(2), error(nil)
	for ; err == nil; seq += 2 {
		err = record(output(seq), output(seq+1))
	}
	seq -= 2
	checkRefused(t, err, "make room")
	if x, err := s.Execution(ctx, job, "h"); err != nil || x.Stored != seq-1 {
		t.Errorf("a read on a full disk: stored %d of %d, %v", x.Stored, seq-1, err)
	}
	d.Free()
	d.Resize(64 << 20)
	if err := record(output(seq), output(seq+1), queue.Event{Execution: id, Seq: seq + 2, Kind: queue.EventFinished, Outcome: queue.Succeeded}); err != nil {
		t.Errorf("Record once there is room: %v", err)
	}
	if err := submit(); err != nil {
		t.Errorf("Submit once there is room: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkIntegrity(t, path)
	s = open(t, sqlitequeue.Options{Path: path})
	for _, id := range jobs {
		if _, err := s.Job(ctx, id); err != nil {
			t.Errorf("a job that was acknowledged: %v", err)
		}
	}
	if x, err := s.Execution(ctx, job, "h"); err != nil || x.State != queue.Succeeded {
		t.Errorf("%s, %v", x.State, err)
	}
	if len(jobs) < 10 {
		t.Errorf("%d jobs are few", len(jobs))
	}
}

// TestOpenWithoutRoom opens a store where there is no byte left.
func TestOpenWithoutRoom(t *testing.T) {
	d := queuetest.NewDisk(t, 1<<20)
	d.Fill()
	o := sqlitequeue.Options{Path: filepath.Join(d.Dir, "store.db"), Log: quiet()}
	if _, err := sqlitequeue.Open(context.Background(), o); queue.CodeOf(err) != queue.Unavailable || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open on a full disk: %v", err)
	}
	d.Free()
	d.Resize(16 << 20)
	running(t, open(t, o), "h")
}

func checkRefused(t *testing.T, err error, text string) {
	t.Helper()
	if queue.CodeOf(err) != queue.Unavailable || err.(*queue.Error).Retry <= 0 || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want Unavailable with %q", err, text)
	}
}

// TestFilesGone takes the files away from under the store: nothing is acknowledged that would be gone with the process,
// and it goes on if they come back.
func TestFilesGone(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{"", "-wal"} {
		path := filepath.Join(t.TempDir(), "store.db")
		s := open(t, sqlitequeue.Options{Path: path})
		record, id := running(t, s, "h")
		job, _, _ := id.Split()
		hidden := path + ".hidden"
		move := func(from, to string) {
			t.Helper()
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		finish := func() error {
			return record(queue.Event{Execution: id, Seq: 2, Kind: queue.EventFinished, Outcome: queue.Succeeded, At: time.Now()})
		}
		move(path+name, hidden)
		checkRefused(t, finish(), "was removed")
		copied, err := os.ReadFile(hidden)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+name, copied, 0o600); err != nil {
			t.Fatal(err)
		}
		checkRefused(t, finish(), "was replaced")
		if _, _, err := s.Submit(ctx, newJob(queue.Target{Host: "h", Incarnation: 1})); queue.CodeOf(err) != queue.Unavailable {
			t.Errorf("Submit: %v", err)
		}
		move(hidden, path+name)
		if err := finish(); err != nil {
			t.Errorf("once the file is back: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkIntegrity(t, path)
		if x, err := open(t, sqlitequeue.Options{Path: path}).Execution(ctx, job, "h"); err != nil || x.State != queue.Succeeded {
			t.Errorf("%s, %v", x.State, err)
		}
	}
}

// TestFileCut cuts the file under the store, which says so and adds no damage; the next start doesn't take it for a store.
func TestFileCut(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, sqlitequeue.Options{Path: path})
	_, id := running(t, s, "h")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := sqlitequeue.Open(ctx, sqlitequeue.Options{Path: path, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Submit(ctx, newJob(queue.Target{Host: "h", Incarnation: 1})); err != nil {
		t.Fatal(err)
	}
	backup, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Submit(ctx, newJob(queue.Target{Host: "h", Incarnation: 1})) // which reads first
	checkRefused(t, err, "restore it from a backup")
	_, err = s.Sweep(ctx, 10, queue.Retention{})
	checkRefused(t, err, "was cut under the running store; restore it from a backup")
	_ = s.Close() // which may fail to fold the write-ahead log into what is left
	if err := os.WriteFile(path, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	job, _, _ := id.Split()
	if x, err := open(t, sqlitequeue.Options{Path: path}).Execution(ctx, job, "h"); err != nil || x.State != queue.Accepted {
		t.Errorf("from the backup: %s, %v", x.State, err)
	}
}
