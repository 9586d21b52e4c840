package session

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Session is an attachment over a connection. There is one per socket, so it is
// small.
type Session struct {
	hub         *Hub
	conn        Conn
	peer        queue.HostID
	incarnation int64
	expires     int64 // Unix milliseconds; 0 = never
	since       int64 // hub time of the attachment
	seen        atomic.Int64

	// Hub.mu guards the following.
	sibling *Session // next attachment of the host
	place   int      // in Hub.attached, from 1; 0 = detached
	epoch   int64    // of the store's session, 0 before the claim; written by turns only, so that they may read it freely

	spot int // parking.mu guards it: where it is in that line, see there; 0 = not in it

	// Only turns use the following.
	after      int64 // number of the last message written
	generation string

	mu      sync.Mutex // guards the following
	inbox   []wire.Message
	onWay   int64 // bytes of events received and not recorded
	tops    []top // of the executions that these are of; nil once all are recorded
	events  int64 // hub time of the last event
	moved   int64 // hub time of the last claim, record or delivery, see beginAnew
	limit   int64 // credit that is enforced
	granted int64 // credit that the host was told; less than limit for a while after lowering
	lowered int64 // hub time of lowering
	used    int64 // bytes of events since window
	window  int64 // hub time
	looked  int64 // hub time when work was last looked for
	drain   int64 // milliseconds to announce; 0 = nothing to announce
	said    bool  // hello came
	standby bool
	claims  bool // a hello or take waits
	active  bool // claimed
	look    bool // look for work
	lower   bool // tell the host a lower credit
	ending  bool
	gone    bool // detached
	stale   bool // another session owns the host: nothing to release
	busy    bool // a turn is due, running or parked
	again   bool // something came for the next turn
}

// Seen says that the host gave a sign: any frame, pings included.
func (s *Session) Seen() { s.seen.Store(s.hub.now()) }

// ReceiveFrom is Receive of all that r gives; beyond wire.MaxFrame it isn't read. An error is r's:
// nothing was received.
func (s *Session) ReceiveFrom(r io.Reader) (more bool, err error) {
	in := s.hub.readers.Get().(*frameReader)
	frame, err := in.read(r)
	if err == nil {
		more = s.Receive(frame)
	}
	if in.Cap() <= frameTarget {
		s.hub.readers.Put(in)
	}
	return more, err
}

// Receive takes a frame, which it doesn't keep. It has it decoded and queues what
// it holds; it waits for the processor, but for no other thing. False says that the session
// ends, and nothing more is to be read for it.
func (s *Session) Receive(frame []byte) bool {
	s.Seen()
	s.hub.count.framesIn.Add(1)
	msgs, ok := wire.DecodePlain(frame)
	var err error
	if !ok {
		msgs, err = s.hub.decode(frame)
	}
	if err != nil {
		s.End(wire.CloseMalformed, err.Error())
		return false
	}
	s.mu.Lock()
	if s.ending { // for a reason of its own, which this frame doesn't change
		s.mu.Unlock()
		return false
	}
	code, reason := s.admit(msgs)
	due := code == 0 && len(msgs) > 0 && s.due()
	s.mu.Unlock()
	if code != 0 {
		s.End(code, reason)
		return false
	}
	if due {
		s.hub.turns.enqueue(s.hub, s)
	}
	return true
}

// admit checks the messages of a frame against the session's state, and queues all
// of them or none. s.mu is held.
func (s *Session) admit(msgs []wire.Message) (wire.CloseCode, string) {
	said, standby, claims, bytes := s.said, s.standby, s.claims, int64(0)
	kept := msgs[:0]
	for _, m := range msgs {
		switch m := m.(type) {
		case *wire.Hello:
			if said {
				return wire.CloseMalformed, "hello a second time"
			}
			said, standby, claims = true, m.Standby, true
		case *wire.Take:
			if !said || claims && !standby {
				return wire.CloseMalformed, "take before hello, or before the welcome"
			}
			standby, claims = false, true
		case wire.Event:
			id, seq := m.Ref()
			if !said || standby {
				return wire.CloseMalformed, fmt.Sprintf("%s before hello, or in standby", m.Type())
			}
			if !ownedBy(id, s.peer) {
				return wire.CloseForbidden, fmt.Sprintf("%s for %.80s, which is not of this host", m.Type(), id)
			}
			size := wire.EventSize(m)
			if on := s.onWay + bytes; on > 0 && on+size > s.limit {
				if s.isCopy(id, seq) {
					continue
				}
				return wire.CloseSlow, fmt.Sprintf("%s %d goes beyond the credit of %d bytes", m.Type(), seq, s.limit)
			}
			bytes += size
		default:
			return wire.CloseMalformed, fmt.Sprintf("%s is not for a gateway", m.Type())
		}
		kept = append(kept, m)
	}
	s.said, s.standby, s.claims = said, standby, claims
	if bytes > 0 {
		s.onWay += bytes
		s.events = s.hub.now()
		s.noteTops(kept)
	}
	s.inbox = append(s.inbox, kept...)
	s.hub.count.messagesIn.Add(int64(len(msgs)))
	return 0, ""
}

// top is the last event of an execution that is on the way.
type top struct {
	id  string
	seq int64
}

// isCopy tells whether an event is one that was received before and isn't recorded yet, as far as is known: a host that waited for an ack
// sends again, while the first copy waits for the store here. It isn't needed, so that it uses no credit. s.mu is held.
func (s *Session) isCopy(id string, seq int64) bool {
	for _, t := range s.tops {
		if t.id == id {
			return seq <= t.seq
		}
	}
	return false
}

func (s *Session) noteTops(msgs []wire.Message) {
next:
	for _, m := range msgs {
		e, ok := m.(wire.Event)
		if !ok {
			continue
		}
		id, seq := e.Ref()
		for i := range s.tops {
			if s.tops[i].id == id {
				s.tops[i].seq = max(s.tops[i].seq, seq)
				continue next
			}
		}
		s.tops = append(s.tops, top{id, seq})
	}
}

// due tells whether the caller has to enqueue s. s.mu is held.
func (s *Session) due() bool {
	if s.busy {
		s.again = true
		return false
	}
	s.busy = true
	return true
}

// lookForWork makes the next turn ask the store for deliveries.
func (s *Session) lookForWork() {
	s.mu.Lock()
	s.look = true
	due := s.active && s.due()
	s.mu.Unlock()
	if due {
		s.hub.turns.enqueue(s.hub, s)
	}
}

// End closes the connection, once. It doesn't block: the closing has a goroutine,
// since it waits for the peer.
func (s *Session) End(code wire.CloseCode, reason string) {
	s.mu.Lock()
	first := !s.ending && !s.gone
	s.ending = true
	if code == wire.CloseSuperseded {
		s.stale = true
	}
	if first {
		s.hub.wg.Add(1) // while the session itself is counted
	}
	s.mu.Unlock()
	if !first {
		return
	}
	reason = wire.CloseReason(0, reason)
	s.hub.count.closed(code)
	s.hub.cfg.Log.Debug("session closed", "host", s.peer, "code", int(code), "reason", reason)
	go func() {
		defer s.hub.wg.Done()
		s.conn.Close(code, reason)
	}()
}

// Detach says that the connection has ended, and nothing will be received any
// more. What has come is still recorded, and the session released, by turns; a session
// that never had its welcome has neither to do.
func (s *Session) Detach() {
	claimed := s.hub.detach(s)
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return
	}
	s.gone, s.ending = true, true
	if !claimed {
		s.inbox = nil // nobody is there to be welcomed
	}
	due := s.due()
	s.mu.Unlock()
	switch {
	case due:
		s.hub.turns.enqueue(s.hub, s)
	case !claimed && s.hub.parked.remove(s):
		s.hub.reap(s) // it has nothing for the store
	}
}
