package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// remoteVar has the test's program be an agent on a directory, which speaks frames, a line each, over its standard
// input and output.
const remoteVar = "AGENT_TEST_REMOTE"

const patience = 30 * time.Second

func beRemote(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	unlock, err := Lock(dir)
	fail(err)
	defer unlock()
	boot, err := runner.BootID()
	fail(err)
	a, err := New(Config{Dir: dir, Runner: runner.New(), Policy: always{}, BootID: boot})
	fail(err)
	hello := a.Hello()
	say := func(m wire.Message) {
		b, err := wire.Encode(m)
		fail(err)
		_, err = os.Stdout.Write(append(b, '\n'))
		fail(err)
	}
	say(&hello)
	welcome := make(chan struct{})
	go func() {
		for <-welcome; ; {
			events, err := a.Pull(context.Background(), 1<<20, true)
			fail(err)
			for _, e := range events {
				say(e)
			}
		}
	}()
	for lines := bufio.NewReader(os.Stdin); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			os.Exit(0)
		}
		ms, err := wire.Decode(line[:len(line)-1])
		fail(err)
		for _, m := range ms {
			a.Deliver(m)
			if _, ok := m.(*wire.Welcome); ok { // as a link does, there is only one
				close(welcome)
			}
		}
	}
}

// remote is an agent in a process of its own, and all that the store knows of its one execution.
type remote struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	in     io.WriteCloser
	ended  chan struct{}
	heard  chan wire.Message
	hello  *wire.Hello
	stored int64
	stdout strings.Builder
	end    *wire.Finished
}

const remoteID = "00000000000000000000000001.h"

func newRemote(t *testing.T) *remote {
	t.Helper()
	return &remote{t: t, dir: clienttest.Dir(t, 0o700)}
}

func (r *remote) start() {
	r.t.Helper()
	r.cmd = exec.Command("/proc/self/exe")
	r.cmd.Env = append(os.Environ(), remoteVar+"="+r.dir)
	r.cmd.Stderr = r.t.Output()
	var err error
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	heard, ended := make(chan wire.Message, 1000), make(chan struct{})
	r.heard, r.ended = heard, ended
	go func() {
		defer close(ended)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil { // what was cut is no message
				return
			}
			ms, err := wire.Decode(line[:len(line)-1])
			if err != nil {
				r.t.Errorf("%s: %v", line, err)
				return
			}
			for _, m := range ms {
				heard <- m
			}
		}
	}()
	r.hello = r.next().(*wire.Hello)
}

// kill ends the agent's process, and nothing else, as kill -9 does.
func (r *remote) kill() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	<-r.ended
	r.cmd.Wait() //nolint:errcheck // it was killed
	for len(r.heard) > 0 {
		<-r.heard // lost on the way
	}
}

func (r *remote) next() wire.Message {
	r.t.Helper()
	select {
	case m := <-r.heard:
		return m
	case <-time.After(patience):
		r.t.Fatal("waited in vain")
		return nil
	}
}

func (r *remote) say(m wire.Message) {
	r.t.Helper()
	b, err := wire.Encode(m)
	if err == nil {
		_, err = r.in.Write(append(b, '\n'))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) job(script string) {
	r.t.Helper()
	sum := sha256.Sum256([]byte(script))
	r.say(&wire.Welcome{Session: 1, Time: time.Now().UnixMilli(), Credit: 1 << 20})
	r.say(&wire.Job{
		N: 1, Execution: remoteID, Token: "t", Time: time.Now().UnixMilli(), DeliverUntil: time.Now().Add(time.Hour).UnixMilli(),
		Spec: wire.Spec{
			Script: script, ScriptSize: int64(len(script)), ScriptSHA256: hex.EncodeToString(sum[:]),
			Lane: "default", RunTimeout: 60_000, Grace: 1000, OutputLimit: 1 << 20,
		},
	})
}

// again begins a session as a store does that has events up to stored.
func (r *remote) again() {
	r.t.Helper()
	for _, x := range r.hello.Executions {
		if x.Execution == remoteID {
			r.say(&wire.Welcome{Session: 2, N: 1, Time: time.Now().UnixMilli(), Credit: 1 << 20, Executions: []wire.Resume{
				{Execution: remoteID, Stored: r.stored, Verdict: wire.VerdictGo},
			}})
			return
		}
	}
	r.t.Fatalf("the agent came back without it: %+v", r.hello)
}

// take takes one event, which must be the next one.
func (r *remote) take() wire.Event {
	r.t.Helper()
	ev := r.next().(wire.Event)
	if _, seq := ev.Ref(); seq != r.stored+1 {
		r.t.Fatalf("event %d (%s) where %d is due", seq, ev.Type(), r.stored+1)
	}
	r.stored++
	switch ev := ev.(type) {
	case *wire.Output:
		r.stdout.Write(ev.Bytes())
	case *wire.Gap:
		r.t.Errorf("a gap: %+v", ev)
	case *wire.Finished:
		r.end = ev
	}
	return ev
}

func (r *remote) until(ok func(wire.Event) bool) {
	r.t.Helper()
	for !ok(r.take()) {
	}
}

func (r *remote) ack(v wire.Verdict) {
	r.t.Helper()
	r.say(&wire.Ack{Execution: remoteID, Stored: r.stored, Verdict: v})
}

func (r *remote) touch(name string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func accepted(ev wire.Event) bool { _, ok := ev.(*wire.Accepted); return ok }

func finished(ev wire.Event) bool { _, ok := ev.(*wire.Finished); return ok }
