package loadtest

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// begin starts a script.
func begin(t *testing.T, r *SimRunner, dir string, spec runner.Spec) runner.Process {
	t.Helper()
	p, err := r.Start(t.Context(), dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// await receives changes until the script has ended.
func await(t *testing.T, p runner.Process) runner.Exit {
	t.Helper()
	for !p.Status().Ended {
		<-p.Changed()
	}
	return p.Status().Exit
}

// output is what was printed; the frames must be in order.
func output(t *testing.T, p runner.Process) string {
	t.Helper()
	var b strings.Builder
	next := int64(runner.FirstSeq)
	for next <= p.Status().Last {
		frames, err := p.Read(next, 1)
		if err != nil || len(frames) != 1 || frames[0].Seq != next {
			t.Fatalf("from %d: %+v, %v", next, frames, err)
		}
		if first := next == runner.FirstSeq; first != (frames[0].Kind == runner.Started) {
			t.Fatalf("frame %d is of kind %d", next, frames[0].Kind)
		}
		b.Write(frames[0].Data)
		next++
	}
	if frames, err := p.Read(next, 1); err != nil || len(frames) != 0 {
		t.Errorf("beyond the end: %+v, %v", frames, err)
	}
	return b.String()
}

func TestSimRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewSimRunner()
		begun := time.Now()
		p := begin(t, r, "a", runner.Spec{Script: []byte("echo hello; sleep 10; echo bye"), RunTimeout: time.Minute})
		<-p.Changed() // the first comes without a change
		if got := output(t, p); got != "hello\n" || p.Status().Ended {
			t.Errorf("at first %q, ended %v", got, p.Status().Ended)
		}
		x := await(t, p)
		if took := time.Since(begun); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if x.Outcome != wire.Succeeded || x.ExitCode != 0 || x.Seq != p.Status().Last+1 || x.Bytes != 10 || x.At != time.Now().UnixMilli() {
			t.Errorf("it ended as %+v, last %d", x, p.Status().Last)
		}
		if got := output(t, p); got != "hello\nbye\n" {
			t.Errorf("it printed %q", got)
		}
		if _, err := r.Start(t.Context(), "a", runner.Spec{Script: []byte("echo")}); err == nil {
			t.Error("it was started twice in a directory")
		}
		if q, err := r.Attach("a"); err != nil || q != p {
			t.Errorf("attached to %v, %v", q, err)
		}
		if err := r.Remove("a"); err != nil {
			t.Error(err)
		}
		if _, err := r.Attach("a"); !errors.Is(err, runner.ErrNoTrace) {
			t.Errorf("after its removal: %v", err)
		}
	})
}

func TestSimRunnerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewSimRunner()
		var refused *runner.RefusedError
		if _, err := r.Start(t.Context(), "no", runner.Spec{Script: []byte("reboot")}); !errors.As(err, &refused) {
			t.Errorf("an unknown command: %v", err)
		}
		if _, err := r.Attach("no"); !errors.Is(err, runner.ErrNoTrace) {
			t.Errorf("what was refused left a trace: %v", err)
		}

		begun := time.Now()
		late := begin(t, r, "late", runner.Spec{Script: []byte("sleep 2; sleep 2; echo a"), RunTimeout: 3 * time.Second})
		if x := await(t, late); x.Outcome != wire.TimedOut || time.Since(begun) != 3*time.Second || x.Reason == "" || output(t, late) != "" {
			t.Errorf("beyond its time limit: %+v after %v", x, time.Since(begun))
		}

		asked := begin(t, r, "asked", runner.Spec{Script: []byte("echo a; sleep 100"), RunTimeout: time.Hour})
		time.Sleep(time.Second)
		if err := asked.Cancel(time.Minute); err != nil {
			t.Fatal(err)
		}
		if x := await(t, asked); x.Outcome != wire.Cancelled || x.ExitCode != -1 || output(t, asked) != "a\n" {
			t.Errorf("cancelled: %+v", x)
		}
		if err := asked.Cancel(0); err != nil || asked.Status().Exit.Outcome != wire.Cancelled {
			t.Errorf("cancelled again: %v", err)
		}

		long := strings.Repeat("x", 3*wire.MaxChunk)
		big := begin(t, r, "big", runner.Spec{Script: []byte("echo " + long), RunTimeout: time.Hour, OutputLimit: 2*wire.MaxChunk + 1})
		if x := await(t, big); x.Bytes != 2*wire.MaxChunk+1 || x.Dropped != wire.MaxChunk || output(t, big) != long[:x.Bytes] {
			t.Errorf("beyond the output limit: %+v", x)
		}

		stopped := begin(t, r, "stopped", runner.Spec{Script: []byte("sleep 100"), RunTimeout: time.Hour})
		r.Stop()
		if x := await(t, stopped); x.Outcome != wire.Cancelled {
			t.Errorf("stopped: %+v", x)
		}
	})
}
