package sessiontest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// host is a host as the suite plays it.
type host struct {
	*world
	t          testing.TB
	peer       session.Peer
	generation string
	nonce      string
	position   int64
	after      int64
	slots      map[string]int
	inHand     map[string]wire.InHand
	link       Link
	early      []wire.Message
}

func (h *host) hello() wire.Hello {
	m := wire.Hello{
		AgentVersion: "test", BootID: "boot-1", Generation: h.generation, Position: h.position, Nonce: h.nonce,
		After: h.after, Slots: h.slots, Facts: map[string]string{"os": "test"},
	}
	for _, x := range h.inHand {
		m.Executions = append(m.Executions, x)
	}
	return m
}

// attach connects, and gives the welcome.
func (h *host) attach() *wire.Welcome {
	h.t.Helper()
	h.link = h.car.Dial(h.t, h.peer, h.hello())
	w := expect[*wire.Welcome](h)
	if w.Session <= 0 || w.Time <= 0 || w.Ping <= 0 || w.Dead <= w.Ping || w.Credit < wire.IdleCredit || w.MaxFrame != wire.MaxFrame {
		h.t.Fatalf("welcome %+v", w)
	}
	h.after = max(h.after, w.N)
	return w
}

// attached is attach for tests that don't look at the welcome.
func (h *host) attached() *host {
	h.t.Helper()
	h.attach()
	return h
}

// recv gives the next message that isn't about credit.
func (h *host) recv() (wire.Message, error) {
	for {
		m, err := h.link.Recv(patience)
		if _, ok := m.(*wire.Credit); ok {
			continue
		}
		return m, err
	}
}

// expect receives a message of a type. Requests are answered in no order: over a poll,
// work may come before the ack of what made place for it.
func expect[M wire.Message](h *host) M {
	h.t.Helper()
	for i, m := range h.early {
		if got, ok := m.(M); ok {
			h.early = slices.Delete(slices.Clone(h.early), i, i+1)
			return got
		}
	}
	for {
		m, err := h.recv()
		if err != nil {
			var want M
			h.t.Fatalf("%s: waiting for %T: %v", h.peer.Host, want, err)
		}
		got, ok := m.(M)
		if ok {
			return got
		}
		_, work := m.(*wire.Job)
		if !work || h.kind != queue.TransportPoll {
			h.t.Fatalf("%s: got %T %+v, want %T", h.peer.Host, m, m, got)
		}
		h.early = append(h.early, m)
	}
}

// nothing fails if a message comes within some time. It is only a net for what the state
// in the store shows anyway.
func (h *host) nothing() {
	h.t.Helper()
	if len(h.early) > 0 {
		h.t.Fatalf("%s: got %+v, want nothing", h.peer.Host, h.early)
	}
	if m, err := h.link.Recv(50 * time.Millisecond); err == nil {
		h.t.Fatalf("%s: got %T %+v, want nothing", h.peer.Host, m, m)
	}
}

// closed expects the end of the session.
func (h *host) closed(code wire.CloseCode) *Closed {
	h.t.Helper()
	for {
		m, err := h.recv()
		if err == nil {
			switch m.(type) {
			case *wire.Ack, *wire.Drain:
				continue
			}
			h.t.Fatalf("%s: got %T %+v, want close code %d", h.peer.Host, m, m, code)
		}
		var c *Closed
		if !errors.As(err, &c) || c.Code != code {
			h.t.Fatalf("%s: %v, want close code %d", h.peer.Host, err, code)
		}
		if c.Reason == "" {
			h.t.Fatalf("%s: closed with %d without a reason", h.peer.Host, code)
		}
		return c
	}
}

// job expects a job.
func (h *host) job() *wire.Job {
	h.t.Helper()
	j := expect[*wire.Job](h)
	if j.N <= h.after {
		h.t.Fatalf("%s: job has number %d, after %d", h.peer.Host, j.N, h.after)
	}
	h.after = j.N
	if j.Token == "" || j.DeliverUntil <= j.Time || j.Spec.RunTimeout <= 0 || j.Spec.Lane == "" || j.Spec.ScriptSize == 0 {
		h.t.Fatalf("%s: job %+v", h.peer.Host, j)
	}
	return j
}

// jobOf expects the job with an id.
func (h *host) jobOf(id queue.JobID) *wire.Job {
	h.t.Helper()
	j := h.job()
	if want := string(queue.NewExecutionID(id, h.peer.Host)); j.Execution != want {
		h.t.Fatalf("%s: got job %s, want %s", h.peer.Host, j.Execution, want)
	}
	return j
}

// ack expects an ack.
func (h *host) ack(j *wire.Job, stored int64, verdict wire.Verdict) *wire.Ack {
	h.t.Helper()
	a := expect[*wire.Ack](h)
	if a.Execution != j.Execution || a.Stored != stored || a.Verdict != verdict {
		h.t.Fatalf("%s: got %+v, want stored %d with %q of %s", h.peer.Host, a, stored, verdict, j.Execution)
	}
	return a
}

// stored waits for acks until an execution is stored up to a number.
func (h *host) stored(j *wire.Job, upTo int64) {
	h.t.Helper()
	for {
		a := expect[*wire.Ack](h)
		if a.Execution != j.Execution || a.Verdict == wire.VerdictForget || a.Stored > upTo {
			h.t.Fatalf("%s: got %+v, want stored up to %d of %s", h.peer.Host, a, upTo, j.Execution)
		}
		if a.Stored == upTo {
			return
		}
	}
}

func (h *host) has(j *wire.Job, seq int64) {
	h.inHand[j.Execution] = wire.InHand{Execution: j.Execution, Token: j.Token, Seq: seq}
}

// accepted composes the event, as journalled.
func (h *host) accepted(j *wire.Job) *wire.Accepted {
	h.position++
	h.has(j, 1)
	return &wire.Accepted{Execution: j.Execution, Seq: 1, At: time.Now().UnixMilli(), Token: j.Token, Position: h.position}
}

// accept sends accepted, and expects the go.
func (h *host) accept(j *wire.Job) {
	h.t.Helper()
	h.link.Send(h.accepted(j))
	h.ack(j, 1, wire.VerdictGo)
}

func (h *host) started(j *wire.Job) *wire.Started {
	h.has(j, 2)
	return &wire.Started{Execution: j.Execution, Seq: 2, At: time.Now().UnixMilli()}
}

func (h *host) out(j *wire.Job, seq int64, format string, args ...any) *wire.Output {
	h.has(j, seq)
	return &wire.Output{Execution: j.Execution, Seq: seq, At: time.Now().UnixMilli(), Stream: wire.Stdout, Text: fmt.Sprintf(format, args...)}
}

func (h *host) finished(j *wire.Job, seq int64, o wire.Outcome) *wire.Finished {
	delete(h.inHand, j.Execution)
	m := &wire.Finished{Execution: j.Execution, Seq: seq, At: time.Now().UnixMilli(), Outcome: o}
	if o == wire.Failed {
		m.ExitCode = 3
	}
	return m
}

// finish runs an accepted job to its end in one go.
func (h *host) finish(j *wire.Job) {
	h.t.Helper()
	h.link.Send(h.started(j), h.out(j, 3, "done\n"), h.finished(j, 4, wire.Succeeded))
	h.stored(j, 4)
}
