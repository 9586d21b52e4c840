package agent

import (
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

type phase int

// The phases, in order; see the package comment. A settled execution is no
// execution any more.
const (
	preparing phase = iota
	waiting
	starting
	running
	ended
)

// execution is one that is in hand. Agent.mu guards its fields, but for id and
// lane, which don't change, and the channel.
type execution struct {
	id, lane string
	wake     chan struct{} // tells its goroutine that something was decided

	phase phase
	slot  bool   // it occupies one
	token string // of the last delivery
	grace time.Duration
	entry Entry // as journalled last
	proc  runner.Process

	goAhead bool           // the store said go
	asked   time.Time      // when the oldest question that this can be the answer to was put; zero = there is none
	forget  bool           // it said forget: nothing is sent any more
	drop    bool           // and that the output is of no use; else it may be delivered again
	stop    *time.Duration // cancel, with this grace

	last  int64  // number of the last event that is there to send, but for end
	end   *Ended // the last event, once known
	fixed bool   // end.Seq is certain; else what the store has tells
	told  bool   // the store told what it has, since this agent took the execution in hand

	acked int64 // events up to here are stored
	sent  int64 // events up to here were given to the link since the last rewind
	out   []given
	turns int // rewinds so far: what was read before one is not given after it

	want int64 // bytes on disk that it needs if nothing of it is stored meanwhile
	room int64 // bytes on disk that it may have, 0 before it is started
	full bool  // its script waits for room

	stallAt   time.Time     // when to send again what is on the way; zero = nothing is
	stallWait time.Duration // between that and the next time
	readAt    time.Time     // not to be read before, after an error of the disk
	unread    bool          // a renewed token wasn't sent yet: an ack is about the one before
}

// given is an event on the way.
type given struct{ seq, size int64 }

func newExecution(id, token, lane string) *execution {
	return &execution{id: id, token: token, lane: lane, wake: make(chan struct{}, 1)}
}

// top is the number of the last event that can be sent.
func (e *execution) top() int64 {
	if e.end != nil && e.fixed {
		return e.end.Seq
	}
	return e.last
}

// ready tells whether there is something to send.
func (e *execution) ready(now time.Time) bool {
	return !e.forget && e.sent < e.top() && !now.Before(e.readAt)
}

// source is what is needed to make an execution's events, apart from the
// lock.
type source struct {
	id, token string
	entry     Entry
	proc      runner.Process
	end       *Ended // nil = not known yet, or not fixed
	last      int64
	skew      int64
	turns     int
}

func (e *execution) source(skew int64) source {
	s := source{id: e.id, token: e.token, entry: e.entry, proc: e.proc, last: e.last, skew: skew, turns: e.turns}
	if e.fixed {
		s.end = e.end
	}
	return s
}

// events gives the events from a number on, of about max bytes, one at least.
func (s source) events(from int64, max int) ([]wire.Event, error) {
	var out []wire.Event
	for size := 0; size < max && from <= s.top(); {
		evs, err := s.next(from, max-size)
		if err != nil || len(evs) == 0 {
			return out, err
		}
		for _, ev := range evs {
			size += int(wire.EventSize(ev))
			_, from = ev.Ref()
			if g, ok := ev.(*wire.Gap); ok {
				from = g.Through
			}
			from++
		}
		out = append(out, evs...)
	}
	return out, nil
}

func (s source) top() int64 {
	if s.end != nil {
		return s.end.Seq
	}
	return s.last
}

func (s source) next(from int64, max int) ([]wire.Event, error) {
	switch {
	case s.end != nil && from >= s.end.Seq:
		return []wire.Event{s.endEvent()}, nil
	case from == 1:
		return []wire.Event{&wire.Accepted{
			Execution: s.id, Seq: 1, At: s.entry.AcceptedAt + s.skew, Token: s.token, Position: s.entry.Position,
		}}, nil
	case s.proc == nil && from == runner.FirstSeq:
		return []wire.Event{&wire.Started{Execution: s.id, Seq: from, At: s.entry.StartedAt + s.skew}}, nil
	case s.proc == nil:
		return []wire.Event{s.gap(from)}, nil
	}
	frames, err := s.proc.Read(from, max)
	if err != nil {
		return nil, err
	}
	if len(frames) == 0 && s.end != nil {
		return []wire.Event{s.gap(from)}, nil
	}
	out := make([]wire.Event, len(frames))
	for i, f := range frames {
		out[i] = frameEvent(s.id, f, s.skew)
	}
	return out, nil
}

// gap stands for all from a number on up to the end. How much of the output is in it isn't known any more: at
// most all of it.
func (s source) gap(from int64) wire.Event {
	return &wire.Gap{Execution: s.id, Seq: from, Through: s.end.Seq - 1, At: s.end.At + s.skew, Bytes: s.end.Bytes}
}

func (s source) endEvent() wire.Event {
	e := s.end
	if e.Rejected {
		return &wire.Rejected{Execution: s.id, Seq: e.Seq, At: e.At + s.skew, Token: s.token, Reason: e.Reason}
	}
	return &wire.Finished{
		Execution: s.id, Seq: e.Seq, At: e.At + s.skew, Outcome: e.Outcome, ExitCode: e.ExitCode,
		Signal: e.Signal, Reason: e.Reason, Dropped: e.Dropped,
	}
}
