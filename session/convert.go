package session

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Messages are checked by wire.Decode; here they get the types of the domain.

func claimOf(peer Peer, hello *wire.Hello) queue.Claim {
	c := queue.Claim{
		Host: peer.Host, Incarnation: peer.Incarnation,
		AgentVersion: hello.AgentVersion, BootID: hello.BootID,
		Generation: hello.Generation, Position: hello.Position, Nonce: hello.Nonce,
		Facts: hello.Facts,
		Slots: make(map[queue.Lane]int, len(hello.Slots)+2),
	}
	c.Slots[queue.LaneDefault], c.Slots[queue.LaneUrgent] = 1, 1
	for lane, n := range hello.Slots {
		c.Slots[queue.Lane(lane)] = n
	}
	for _, x := range hello.Executions {
		if ownedBy(x.Execution, peer.Host) {
			c.InHand = append(c.InHand, queue.InHand{Execution: queue.ExecutionID(x.Execution), Token: x.Token, Seq: x.Seq})
		}
	}
	return c
}

// foreign gives the answers for executions in hand that are another host's: of
// an agent that was enrolled under another id before.
func foreign(host queue.HostID, hello *wire.Hello) []wire.Resume {
	var out []wire.Resume
	for _, x := range hello.Executions {
		if !ownedBy(x.Execution, host) {
			out = append(out, wire.Resume{Execution: x.Execution, Verdict: wire.VerdictForget, Reason: "unknown"})
		}
	}
	return out
}

// ownedBy tells whether an execution id, of the right shape, is of the host.
func ownedBy(id string, host queue.HostID) bool {
	_, of, err := queue.ExecutionID(id).Split()
	return err == nil && of == host
}

func eventOf(m wire.Event) queue.Event {
	id, seq := m.Ref()
	e := queue.Event{Execution: queue.ExecutionID(id), Seq: seq}
	switch m := m.(type) {
	case *wire.Accepted:
		e.Kind, e.At, e.Token, e.Position = queue.EventAccepted, time.UnixMilli(m.At), m.Token, m.Position
	case *wire.Rejected:
		e.Kind, e.At, e.Token, e.Reason = queue.EventRejected, time.UnixMilli(m.At), m.Token, cut(m.Reason)
	case *wire.Started:
		e.Kind, e.At = queue.EventStarted, time.UnixMilli(m.At)
	case *wire.Output:
		e.Kind, e.At, e.Data = queue.EventOutput, time.UnixMilli(m.At), m.Bytes()
		e.Stream = queue.Stdout
		if m.Stream == wire.Stderr {
			e.Stream = queue.Stderr
		}
	case *wire.Gap:
		e.Kind, e.At, e.Through, e.Bytes = queue.EventGap, time.UnixMilli(m.At), m.Through, m.Bytes
	case *wire.Finished:
		e.Kind, e.At, e.ExitCode, e.Signal = queue.EventFinished, time.UnixMilli(m.At), m.ExitCode, m.Signal
		e.Outcome, e.Reason, e.Dropped = outcomeOf(m.Outcome), cut(m.Reason), m.Dropped
	}
	return e
}

func outcomeOf(o wire.Outcome) queue.State {
	switch o {
	case wire.Succeeded:
		return queue.Succeeded
	case wire.TimedOut:
		return queue.TimedOut
	case wire.Cancelled:
		return queue.Cancelled
	case wire.Lost:
		return queue.Lost
	}
	return queue.Failed
}

// cut bounds a reason, at a rune's start.
func cut(s string) string {
	if len(s) <= wire.MaxReason {
		return s
	}
	n := wire.MaxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// appendEvent adds an event to those of one record. Of an acceptance that was sent again under a newer token,
// only the last counts: the store would refuse the first, and not look at what follows.
func appendEvent(events []queue.Event, m wire.Event) []queue.Event {
	e := eventOf(m)
	if e.Kind == queue.EventAccepted {
		events = slices.DeleteFunc(events, func(o queue.Event) bool { return o.Kind == e.Kind && o.Execution == e.Execution })
	}
	return append(events, e)
}

// appendAcks adds the acks of events that were recorded.
func appendAcks(out []wire.Message, acks []queue.Ack, events []queue.Event) []wire.Message {
	for _, a := range acks {
		m := &wire.Ack{Execution: string(a.Execution), Stored: a.Stored, Verdict: wire.Verdict(a.Verdict), Reason: a.Reason}
		if a.Verdict != queue.VerdictNone {
			for _, e := range events {
				if e.Kind == queue.EventAccepted && e.Execution == a.Execution {
					m.Token = e.Token
				}
			}
		}
		out = append(out, m)
	}
	return out
}

func resumeOf(a queue.Ack) wire.Resume {
	return wire.Resume{Execution: string(a.Execution), Stored: a.Stored, Verdict: wire.Verdict(a.Verdict), Reason: a.Reason}
}

// jobMessage composes a delivery. script nil = by URL.
func jobMessage(d queue.Delivery, job *queue.Job, script []byte, now time.Time) *wire.Job {
	m := &wire.Job{
		N: d.N, Execution: string(d.Execution.ID()), Token: d.Token,
		DeliverUntil: d.Execution.DeliverUntil.UnixMilli(), Time: now.UnixMilli(),
		Spec: wire.Spec{
			ScriptSize: job.ScriptSize, ScriptSHA256: job.ScriptSHA256,
			User: job.Spec.User, Env: job.Spec.Env, Dir: job.Spec.Dir, Lane: string(job.Spec.Lane),
			RunTimeout: job.Spec.RunTimeout.Milliseconds(), Grace: job.Spec.Grace.Milliseconds(),
			OutputLimit: job.Spec.OutputLimit,
		},
	}
	switch {
	case script == nil:
		m.Spec.ScriptURL = wire.PathScript + m.Execution
	case utf8.Valid(script):
		m.Spec.Script = string(script)
	default:
		m.Spec.ScriptBase64 = script
	}
	return m
}

// inline tells whether a script travels within its message: control characters
// take six bytes each in JSON, and the message has to fit a frame.
func inline(script []byte) bool {
	n := len(script)
	for _, c := range script {
		if c < ' ' && c != '\n' && c != '\t' {
			n += 5
		}
	}
	return n <= wire.InlineScript
}
