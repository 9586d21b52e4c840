package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// Run keeps a session alive until ctx ends, and then returns nil. It returns
// early with a *TerminalError if the gateway said that this agent must not come
// back, or with the error of peer.Pull, which aren't logged. A Link runs once at a time.
func (l *Link) Run(ctx context.Context, peer Peer) error {
	return l.run(ctx, peer, nil)
}

// run is Run; with once it ends when nothing is left to do.
func (l *Link) run(ctx context.Context, peer Peer, once *onceWatch) error {
	defer func() {
		for _, e := range l.endpoints {
			e.closeIdle()
		}
		l.status.update(func(s *Status) { s.Up, s.Standby, s.Session, s.Since = false, "", 0, time.Now() })
	}()
	l.recall()
	r := &runner{l: l, peer: peer, once: once}
	for ctx.Err() == nil {
		st := l.choice.next(time.Now())
		if err := r.overtime(st); err != nil {
			return err
		}
		var o outcome
		if st.transport == Poll && l.cfg.Mode == ModeAuto && once == nil {
			o = r.pollAndProbe(ctx)
		} else {
			o = r.step(ctx, st)
		}
		if o.fault == faultTerminal {
			return o.err
		}
		if errors.Is(o.err, errDone) {
			return nil
		}
	}
	return nil
}

// runner is one Run.
type runner struct {
	l        *Link
	peer     Peer
	once     *onceWatch
	attempts int   // that failed, while no session was ever opened
	opened   bool  // some session was opened
	last     error // of the last attempt
}

// overtime ends a run that is for once after a round of failures.
func (r *runner) overtime(st step) error {
	if r.once == nil || r.opened || r.attempts < len(r.l.endpoints) {
		return nil
	}
	return fmt.Errorf("no gateway could be reached: %w", r.last)
}

// step waits until a step is due, does it, and tells the choice how it ended.
func (r *runner) step(ctx context.Context, st step) outcome {
	ep := r.l.endpoints[st.gateway]
	r.l.status.update(func(s *Status) { s.Transport, s.Gateway, s.Next = st.transport, ep.url, st.at })
	if !sleepUntil(ctx, st.at) {
		return outcome{}
	}
	up := func(session int64) {
		r.opened = true
		r.l.choice.up(time.Now())
		r.l.opened(st.transport, ep, session)
		if r.once == nil {
			r.l.remember(st.transport, ep)
		}
	}
	var o outcome
	if st.transport == Socket {
		s := &socket{l: r.l, ep: ep, peer: r.peer, active: up, once: r.once}
		o = s.run(ctx)
	} else {
		p := &poller{l: r.l, ep: ep, peer: r.peer, up: up, once: r.once}
		o = p.run(ctx)
	}
	r.ended(ctx, st.transport, ep, o)
	return o
}

func (r *runner) ended(ctx context.Context, tr Transport, ep *endpoint, o outcome) {
	if ctx.Err() != nil || errors.Is(o.err, errDone) {
		return
	}
	r.attempts++
	r.last = fmt.Errorf("%s by %s: %w", ep.url, tr, o.err)
	r.l.choice.ended(time.Now(), o)
	r.l.closed(tr, ep, o)
}

// pollAndProbe keeps the session on the poll, and a socket in standby beside it, until
// that takes over and has ended, or the poll gives way to the socket, or ctx ends.
func (r *runner) pollAndProbe(ctx context.Context) outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	polling, stopPoll := context.WithCancel(ctx)
	defer stopPoll()
	pollEnded := make(chan struct{})
	type probed struct {
		took bool
		o    outcome
	}
	result := make(chan probed, 1)
	go func() {
		took, o := r.probe(ctx, func() {
			stopPoll()
			<-pollEnded
		})
		result <- probed{took, o}
	}()

	var o outcome
	for polling.Err() == nil {
		st := r.l.choice.next(time.Now())
		if st.transport != Poll {
			break
		}
		if o = r.step(polling, st); o.fault == faultTerminal {
			break
		}
	}
	taken := ctx.Err() == nil && polling.Err() != nil
	close(pollEnded)
	if !taken {
		cancel() // ends a standby
	}
	p := <-result
	if p.took {
		return p.o
	}
	return o
}

// probe tries the socket in standby again and again. When one takes over, it
// carries on with it, and returns how it ended. stopPoll returns when the poll has ended.
func (r *runner) probe(ctx context.Context, stopPoll func()) (took bool, o outcome) {
	l := r.l
	for {
		st := l.choice.probe()
		if !sleepUntil(ctx, st.at) {
			return false, outcome{}
		}
		ep := l.endpoints[st.gateway]
		s := &socket{l: l, ep: ep, peer: r.peer, standby: true}
		s.stands = func() {
			l.log.Debug("a socket stands by", "gateway", ep.url)
			l.status.update(func(s *Status) { s.Standby = ep.url })
		}
		s.active = func(session int64) {
			stopPoll()
			took = true
			l.choice.took(time.Now(), st.gateway)
			l.opened(Socket, ep, session)
			l.remember(Socket, ep)
		}
		o = s.run(ctx)
		if took {
			r.ended(ctx, Socket, ep, o)
			return true, o
		}
		l.status.update(func(s *Status) { s.Standby = "" })
		if ctx.Err() != nil {
			return false, outcome{}
		}
		l.log.Debug("the socket still doesn't hold", "gateway", ep.url, "err", o.text())
		l.choice.probeEnded(time.Now(), o)
	}
}

// hello composes a hello with the last number that was delivered.
func (l *Link) hello(peer Peer) wire.Hello {
	h := peer.Hello()
	h.Standby = false
	h.After = max(h.After, l.lastN.get())
	return h
}

// deliver hands a message to the peer, and keeps what the link itself needs of it. What is the
// link's own business (credit, drain) isn't handed over.
func (l *Link) deliver(peer Peer, m wire.Message) {
	switch m := m.(type) {
	case *wire.Welcome:
		l.cfg.Identity.Learn(m.Time)
		l.lastN.set(m.N)
		peer.Deliver(m)
	case *wire.Job:
		l.cfg.Identity.Learn(m.Time)
		peer.Deliver(m)
		l.lastN.raise(m.N)
	case *wire.Cancel:
		peer.Deliver(m)
		l.lastN.raise(m.N)
	case *wire.Ack:
		peer.Deliver(m)
	}
}

// opened notes that a session is open.
func (l *Link) opened(tr Transport, ep *endpoint, session int64) {
	l.status.update(func(s *Status) {
		s.Up, s.Transport, s.Gateway, s.Session = true, tr, ep.url, session
		s.Since, s.Next = time.Now(), time.Time{}
		if tr == Socket {
			s.Standby = ""
		}
	})
	l.reported = ""
	l.log.Info("connected", "gateway", ep.url, "transport", string(tr), "session", session)
}

// troubled notes a refusal that the session sits out.
func (l *Link) troubled(ep *endpoint, a answer) {
	l.status.update(func(s *Status) { s.LastError, s.LastErrorAt = a.err().Error(), time.Now() })
	l.cfg.Observer.refused(a.err())
	l.log.Debug("asked to wait", "gateway", ep.url, "err", a.err(), "in", a.retry)
}

// closed notes that a session, or an attempt, has ended. The same refusal is logged
// once, not at each attempt.
func (l *Link) closed(tr Transport, ep *endpoint, o outcome) {
	next := l.choice.next(time.Now())
	opened := l.status.get().Up
	l.status.update(func(s *Status) {
		if s.Up {
			s.Since = time.Now()
		}
		s.Up, s.Session = false, 0
		s.LastError, s.LastErrorAt, s.Next = o.text(), time.Now(), next.at
	})
	l.cfg.Observer.ended(Ended{Transport: tr, Gateway: ep.url, Opened: opened, Fault: o.fault.String(), Retry: o.retry, Err: o.err})
	what := string(tr) + " " + ep.url + " " + o.text()
	if o.fault == faultTerminal || o.slow && what == l.reported {
		return // terminal: Run returns it
	}
	attrs := []any{"gateway", ep.url, "transport", string(tr), "err", o.text(),
		"next", string(next.transport), "in", max(time.Until(next.at), 0).Round(time.Millisecond)}
	switch {
	case o.slow:
		l.reported = what
		l.log.Error("refused; trying again slowly, and saying so only now", attrs...)
	case o.fault == faultAsked:
		l.log.Info("asked to come back", attrs...)
	case (o.fault == faultSocketBroken || o.fault == faultHalf) && next.transport == Poll:
		l.log.Warn("the socket doesn't work here; polling instead", attrs...)
	case o.fault != faultNone:
		l.log.Warn("not connected", attrs...)
	}
}
