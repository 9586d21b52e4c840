package runner

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) {
	Hook()
	if os.Getenv(ownVar) != "" {
		ownAndExit()
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each supervisor takes a second to exit
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// place gives a directory that every user may enter.
func place(t *testing.T) string {
	t.Helper()
	return filepath.Join(clienttest.Dir(t, 0o711), "x")
}

func spec(script string) Spec {
	return Spec{Execution: "job.host", Script: []byte(script), RunTimeout: time.Minute, Grace: 5 * time.Second}
}

type running struct {
	Process
	t      *testing.T
	dir    string
	runner *Supervised
}

func start(t *testing.T, s Spec) *running {
	t.Helper()
	return startIn(t, place(t), s)
}

func startIn(t *testing.T, dir string, s Spec) *running {
	t.Helper()
	return startAt(t, New(), dir, s)
}

func startWith(t *testing.T, r *Supervised, s Spec) *running {
	t.Helper()
	return startAt(t, r, place(t), s)
}

func startAt(t *testing.T, r *Supervised, dir string, s Spec) *running {
	t.Helper()
	p, err := r.Start(context.Background(), dir, s)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	run := &running{p, t, dir, r}
	t.Cleanup(func() {
		run.Cancel(0)
		run.until(func(s Status) bool { return s.Ended })
		run.Close()
	})
	return run
}

// until waits for a status.
func (r *running) until(ok func(Status) bool) Status {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		if s := r.Status(); ok(s) {
			return s
		}
		select {
		case <-r.Changed():
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(r.dir, logName))
			r.t.Fatalf("waited in vain; status %+v, log %q", r.Status(), log)
		}
	}
}

func (r *running) end() Exit {
	r.t.Helper()
	return r.until(func(s Status) bool { return s.Ended }).Exit
}

// frames reads all frames, checking their numbers.
func (r *running) frames() []Frame {
	r.t.Helper()
	var all []Frame
	for from := int64(FirstSeq); from <= r.Status().Last; {
		fs, err := r.Read(from, 10_000)
		if err != nil || len(fs) == 0 {
			r.t.Fatalf("Read(%d): %d frames, %v", from, len(fs), err)
		}
		for _, f := range fs {
			if f.Seq != from {
				r.t.Fatalf("frame %d where %d is due", f.Seq, from)
			}
			if len(f.Data) > wire.MaxChunk {
				r.t.Fatalf("frame %d has %d bytes", f.Seq, len(f.Data))
			}
			from++
			if f.Kind == Missing {
				from = f.Through + 1
			}
		}
		all = append(all, fs...)
	}
	return all
}

func (r *running) output(kind FrameKind) string {
	r.t.Helper()
	var b strings.Builder
	for _, f := range r.frames() {
		if f.Kind == kind {
			b.Write(f.Data)
		}
	}
	return b.String()
}

// shows waits until a stream's output contains a text.
func (r *running) shows(kind FrameKind, text string) {
	r.t.Helper()
	r.until(func(Status) bool { return strings.Contains(r.output(kind), text) })
}

// run starts a script, waits for its end, and gives what it printed.
func run(t *testing.T, s Spec) (Exit, string, string) {
	t.Helper()
	r := start(t, s)
	e := r.end()
	return e, r.output(Stdout), r.output(Stderr)
}
