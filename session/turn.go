package session

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// batch is what is due for a session at the start of a turn.
type batch struct {
	msgs  []wire.Message
	look  bool
	lower bool
	drain int64
	gone  bool
}

// turn does what is due for s. Only one turn of a session runs at a time, from
// busy set to busy cleared; a parked one stays busy.
func (h *Hub) turn(s *Session) {
	s.mu.Lock()
	b := batch{msgs: s.inbox, look: s.look && s.active && !s.ending, lower: s.lower, drain: s.drain, gone: s.gone}
	s.inbox, s.lower, s.drain, s.again = nil, false, 0, false
	if s.active {
		s.look = false
	}
	if b.look {
		s.looked = h.now()
	}
	s.mu.Unlock()

	out, err := h.work(s, &b)
	if b.lower || b.drain > 0 {
		out = s.announce(out, &b)
	}
	write := len(out) > 0 && !b.gone
	if write {
		h.writing <- struct{}{}
	}
	h.turns.next(h)
	if write {
		h.write(s, out)
		<-h.writing
	}
	if err != nil && h.fail(s, &b, err) {
		return // parked
	}
	if b.gone {
		h.reap(s)
		return
	}
	s.mu.Lock()
	s.busy = s.again
	again := s.busy
	s.mu.Unlock()
	if again {
		h.turns.enqueue(h, s)
	}
}

// announce adds what only the hub has to say.
func (s *Session) announce(out []wire.Message, b *batch) []wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.lower && s.granted > wire.IdleCredit {
		s.granted, s.lowered = wire.IdleCredit, s.hub.now()
		out = append(out, &wire.Credit{Bytes: wire.IdleCredit})
	}
	if b.drain > 0 {
		out = append(out, &wire.Drain{Within: b.drain})
	}
	return out
}

// work calls the store for the batch, in the order in which things came, and
// gives what is to be written. After an error, what is left in the batch
// wasn't done.
func (h *Hub) work(s *Session, b *batch) (out []wire.Message, err error) {
	for len(b.msgs) > 0 {
		if _, ok := b.msgs[0].(wire.Event); !ok && b.gone {
			b.msgs = nil // nobody is there to be welcomed
			break
		}
		switch m := b.msgs[0].(type) {
		case *wire.Hello:
			out, err = h.begin(s, m, m.Standby, b, out)
		case *wire.Take:
			out, err = h.begin(s, &m.Hello, false, b, out)
		default:
			out, err = h.recordRun(s, b, out)
		}
		if err != nil {
			return out, err
		}
	}
	if b.look && !b.gone && s.epoch != 0 {
		msgs, f, err := h.deliver(h.deadlines.get(), queue.Fetch{
			Host: s.peer, Session: s.epoch, Gateway: h.cfg.Gateway, After: s.after, Max: maxDeliver, TTL: h.cfg.LeaseTTL,
		})
		if err != nil {
			return out, err
		}
		out = append(out, msgs...)
		b.look = false
		if len(msgs) > 0 {
			s.happened()
		}
		if f.More || len(f.Deliveries) >= maxDeliver {
			s.lookForWork()
		}
	}
	return out, nil
}

// begin answers a hello or take.
func (h *Hub) begin(s *Session, hello *wire.Hello, standby bool, b *batch, out []wire.Message) ([]wire.Message, error) {
	if standby {
		out = append(out, &wire.Welcome{
			Standby: true, Time: time.Now().UnixMilli(), Ping: h.cfg.Ping.Milliseconds(), Dead: h.cfg.Dead.Milliseconds(),
			Credit: s.credit(), MaxFrame: wire.MaxFrame,
		})
	} else {
		claim := claimOf(Peer{Host: s.peer, Incarnation: s.incarnation}, hello)
		claim.Transport = queue.TransportSocket
		claimed, err := h.claim(h.deadlines.get(), claim)
		if err != nil {
			return out, err
		}
		s.after, s.generation = claimed.N, hello.Generation
		h.own(s.peer, s, claimed.Session)
		out = append(out, h.welcome(claimed, foreign(s.peer, hello), s.credit())...)
		b.look = true
	}
	b.msgs = b.msgs[1:]
	s.mu.Lock()
	s.claims = false
	if !standby {
		s.moved = h.now()
	}
	if !standby && !s.active {
		s.active = true
		s.looked = h.now() - rand.N(h.cfg.LookEvery.Milliseconds()/2) // a herd isn't to look together
	}
	s.mu.Unlock()
	return out, nil
}

func (s *Session) credit() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.granted
}

// recordRun records the events at the head of the batch, up to the next message of
// another kind.
func (h *Hub) recordRun(s *Session, b *batch, out []wire.Message) ([]wire.Message, error) {
	events := make([]queue.Event, 0, min(len(b.msgs), maxRecord))
	var size int64
	n := 0
	for _, m := range b.msgs {
		e, ok := m.(wire.Event)
		if !ok || n == maxRecord {
			break
		}
		events = appendEvent(events, e)
		size += wire.EventSize(e)
		n++
	}
	acks, finished, err := h.record(h.deadlines.get(), queue.HostEvents{
		Host: s.peer, Incarnation: s.incarnation, Generation: s.generation, Session: s.epoch, Events: events,
	})
	if err != nil {
		return out, err
	}
	out = appendAcks(out, acks, events)
	b.msgs = b.msgs[n:]
	b.look = b.look || finished
	s.mu.Lock()
	if s.onWay -= size; s.onWay == 0 {
		s.tops = nil
	}
	s.moved = h.now()
	s.mu.Unlock()
	if more := s.raise(size); more > 0 {
		out = append(out, &wire.Credit{Bytes: more})
	}
	return out, nil
}

// write writes messages, and ends the session if that fails.
func (h *Hub) write(s *Session, msgs []wire.Message) {
	frames, err := wire.Pack(frameTarget, msgs...)
	if err != nil {
		h.cfg.Log.Error("message can't be sent", "host", s.peer, "err", err)
		s.End(wire.CloseOverload, "a message to this host can't be sent")
		return
	}
	for _, f := range frames {
		if err := s.conn.Write(f); err != nil {
			if errors.Is(err, ErrSlow) {
				h.cfg.Log.Info("session doesn't read", "host", s.peer, "err", err)
			}
			s.End(wire.CloseSlow, wire.CloseReason(0, "did not read; resume"))
			return
		}
		h.count.framesOut.Add(1)
	}
	h.count.messagesOut.Add(int64(len(msgs)))
	s.after = max(s.after, lastNumber(msgs))
}

// lastNumber is the number of the last numbered message.
func lastNumber(msgs []wire.Message) int64 {
	for i := len(msgs) - 1; i >= 0; i-- {
		switch m := msgs[i].(type) {
		case *wire.Job:
			return m.N
		case *wire.Cancel:
			return m.N
		}
	}
	return 0
}

// fail deals with an error of the store: it ends the session, or parks it with
// what is left of the batch, and tells which.
func (h *Hub) fail(s *Session, b *batch, err error) (parked bool) {
	code, reason := closeFor(err)
	if code != 0 {
		s.End(code, reason)
		return false
	}
	if b.gone || h.calls.Err() != nil {
		return false // the host has what isn't acknowledged
	}
	h.count.storeErrors.Add(1)
	s.mu.Lock()
	if s.gone && s.epoch == 0 { // meanwhile: Detach has not found it in line
		s.mu.Unlock()
		return false
	}
	s.inbox = append(b.msgs[:len(b.msgs):len(b.msgs)], s.inbox...)
	s.look = s.look || b.look
	first := h.parked.add(s)
	s.mu.Unlock()
	if first {
		h.logAway(s, err)
	}
	return true
}

func (h *Hub) logAway(s *Session, err error) {
	h.cfg.Log.Warn("store does not answer; sessions wait", "host", s.peer, "err", err)
}

// closeFor tells with which code an error of the store ends a session; 0 = try
// again.
func closeFor(err error) (wire.CloseCode, string) {
	switch queue.CodeOf(err) {
	case queue.Superseded:
		return wire.CloseSuperseded, wire.CloseReason(0, err.Error())
	case queue.Duplicate:
		return wire.CloseDuplicate, wire.CloseReason(duplicateFor, err.Error())
	case queue.Forbidden, queue.NotFound:
		// Events of other hosts' executions don't get as far as the store: it is the host itself that is barred.
		return wire.CloseRevoked, wire.CloseReason(0, err.Error())
	case queue.Invalid:
		return wire.CloseMalformed, wire.CloseReason(0, err.Error())
	}
	return 0, ""
}

// reap is the end of a detached session: what the host had not accepted goes
// back to its queue.
func (h *Hub) reap(s *Session) {
	s.mu.Lock()
	release := s.epoch != 0 && !s.stale
	h.credit.giveBack(s.limit - wire.IdleCredit) // not before: what came on it was kept
	s.limit, s.granted = wire.IdleCredit, wire.IdleCredit
	s.mu.Unlock()
	if release && !h.replaced(s) && h.calls.Err() == nil {
		err := h.store.Release(h.deadlines.get(), s.peer, s.epoch)
		if err != nil && h.calls.Err() == nil {
			if code, _ := closeFor(err); code == 0 {
				h.count.storeErrors.Add(1)
				if h.parked.add(s) {
					h.logAway(s, err)
				}
				return
			}
			h.cfg.Log.Warn("session not released", "host", s.peer, "session", s.epoch, "err", err)
		}
	}
	h.mu.Lock()
	h.held--
	h.mu.Unlock()
	h.wg.Done()
}

// replaced tells whether another session of the host took over here.
func (h *Hub) replaced(s *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.hosts[s.peer]
	return at != nil && at.owner != nil && at.owner.epoch > s.epoch
}
