package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// TestAgentKilled: the script doesn't notice, and the next agent goes on with the first event that isn't
// stored, with what was printed meanwhile, and to the end.
func TestAgentKilled(t *testing.T) {
	r := newRemote(t)
	r.start()
	r.job("cd " + r.dir + `
echo run >> trace
for i in 1 2 3 4 5 6; do
	echo $i; while [ ! -e go$i ]; do sleep 0.01; done
done
exit 5`)
	r.until(accepted)
	r.ack(wire.VerdictGo)
	says := func(text string) func(wire.Event) bool {
		return func(wire.Event) bool { return strings.HasSuffix(r.stdout.String(), text) }
	}
	r.until(says("1\n"))
	r.ack(wire.VerdictNone)
	r.touch("go1")
	r.until(says("2\n"))
	r.stored-- // it was sent, and lost on its way to the store
	r.stdout = strings.Builder{}
	r.stdout.WriteString("1\n")
	r.kill()
	r.touch("go2")
	r.touch("go3") // it prints while there is no agent
	r.start()
	r.again()
	r.until(says("1\n2\n3\n4\n"))
	r.kill()
	for _, n := range []string{"go4", "go5", "go6"} {
		r.touch(n)
	}
	clienttest.Until(t, "the script has ended", func() bool { // while there is no agent
		_, err := os.Stat(filepath.Join(r.dir, "x", remoteID, "exit"))
		return err == nil
	})
	r.start()
	r.again()
	r.until(finished)
	if r.stdout.String() != "1\n2\n3\n4\n5\n6\n" || r.end.Outcome != wire.Failed || r.end.ExitCode != 5 {
		t.Errorf("%+v, output %q", r.end, r.stdout.String())
	}
	if b, err := os.ReadFile(filepath.Join(r.dir, "trace")); err != nil || string(b) != "run\n" {
		t.Errorf("trace %q, %v", b, err)
	}
	r.kill()
}

// TestAgentKilledAtAnyTime: whenever it is, the script runs once at most, and what is reported is what happened.
func TestAgentKilledAtAnyTime(t *testing.T) {
	outcomes := map[wire.Outcome]int{}
	for n := range 30 {
		r := newRemote(t)
		r.start()
		r.job("echo run >> " + r.dir + "/trace; echo out")
		r.until(accepted)
		r.ack(wire.VerdictGo)
		timer := time.NewTimer(time.Duration(n) * 700 * time.Microsecond) // the fault, at a time of its own
		<-timer.C
		r.kill()
		r.start()
		r.again()
		r.until(finished)
		r.ack(wire.VerdictNone)
		r.kill()
		b, err := os.ReadFile(filepath.Join(r.dir, "trace"))
		runs := strings.Count(string(b), "run\n")
		outcomes[r.end.Outcome]++
		switch {
		case runs > 1:
			t.Errorf("kill %d: it ran %d times", n, runs)
		case r.end.Outcome == wire.Succeeded && (runs != 1 || r.stdout.String() != "out\n"):
			t.Errorf("kill %d: succeeded, it ran %d times (%v), output %q", n, runs, err, r.stdout.String())
		case r.end.Outcome == wire.Lost && runs != 0:
			t.Errorf("kill %d: reported as lost (%s), and it ran", n, r.end.Reason)
		case r.end.Outcome != wire.Succeeded && r.end.Outcome != wire.Lost:
			t.Errorf("kill %d: %+v", n, r.end)
		}
	}
	t.Logf("outcomes %v", outcomes)
}

// TestTwoAgents: a second one on the same directory is refused while the first lives, and not after it was killed.
func TestTwoAgents(t *testing.T) {
	r := newRemote(t)
	r.start()
	if _, err := Lock(r.dir); err == nil {
		t.Error("two agents on one directory")
	}
	if err := r.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.ended
	r.cmd.Wait() //nolint:errcheck // it was killed
	unlock, err := Lock(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
