package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

// socket is one WebSocket connection: the one that delivers, or a standby that
// proves itself and then takes over.
type socket struct {
	l       *Link
	ep      *endpoint
	peer    Peer
	standby bool
	// stands is called when a standby was welcomed; active once, before the welcome of the session is
	// delivered: for a standby it returns when the poll has ended.
	stands func()
	active func(session int64)
	// once, if not nil, ends the connection in good order when nothing is left to do.
	once *onceWatch

	conn  *websocket.Conn
	pump  *pump
	stop  context.CancelCauseFunc // ends the connection in good order
	tasks sync.WaitGroup

	delivering atomic.Bool // this connection has the session
	taking     atomic.Bool // a take was sent; the baton is held
	pongs      atomic.Int64
	heard      atomic.Int64 // when a frame arrived last, Unix nanoseconds
	handling   atomic.Bool  // the reader hands over what it has read

	welcomes int  // the reader's own
	draining bool // the reader's own
}

var (
	errNoPong    = errors.New("no pong came back")
	errNoWelcome = errors.New("connected, but no welcome came")
	errDrained   = errors.New("the gateway is going")
	errWrite     = errors.New("write failed")
	errDone      = errors.New("nothing is left to do")
)

// run dials, carries messages, and returns when the connection has ended and
// everything that it started too.
func (s *socket) run(ctx context.Context) outcome {
	conn, o := s.l.dialSocket(ctx, s.ep)
	if conn == nil {
		return o
	}
	conn.SetReadLimit(wire.MaxFrame)
	s.conn = conn
	s.heard.Store(time.Now().UnixNano())
	s.pump = &pump{peer: s.peer, send: s.write}

	work, stop := context.WithCancelCause(ctx)
	s.stop = stop
	// Reading goes on through a farewell: its own context ends it.
	reading, cut := context.WithCancel(context.WithoutCancel(ctx))
	parted := make(chan struct{})
	context.AfterFunc(work, func() {
		defer close(parted)
		s.farewell(context.Cause(work), cut)
	})

	err := s.hello(work)
	if err == nil {
		welcomeBy := time.AfterFunc(s.l.cfg.Timing.Welcome, func() { stop(errNoWelcome) })
		err = s.read(work, reading, welcomeBy)
		welcomeBy.Stop()
	}
	stop(err)
	cut()
	<-parted
	s.tasks.Wait()
	conn.CloseNow()
	if s.taking.Load() && !s.delivering.Load() {
		s.l.baton.put()
	}
	if ctx.Err() != nil {
		return outcome{}
	}
	return s.ended(err)
}

// ended reads why the connection ended.
func (s *socket) ended(cause error) outcome {
	var ce websocket.CloseError
	var pe *peerError
	switch {
	case errors.As(cause, &pe):
		return failed(faultTerminal, cause)
	case errors.Is(cause, errDone):
		return outcome{err: cause}
	case errors.Is(cause, errDrained):
		return outcome{fault: faultAsked, retry: 0, err: cause}
	case errors.Is(cause, errNoWelcome):
		return failed(faultSocketBroken, cause)
	case errors.As(cause, &ce):
		return closeOutcome(wire.CloseCode(ce.Code), ce.Reason)
	case errors.Is(cause, errNoPong) && s.pongs.Load() == 0:
		return failed(faultSocketBroken, cause)
	}
	return failed(faultCut, fmt.Errorf("the connection broke: %w", cause))
}

// farewell closes the connection when its work ends: in good order where that was our
// wish, at once where it is broken.
func (s *socket) farewell(cause error, cut context.CancelFunc) {
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, errDrained) || errors.Is(cause, errDone) {
		timer := time.AfterFunc(s.l.cfg.Timing.Farewell, cut)
		s.conn.Close(websocket.StatusNormalClosure, "")
		timer.Stop()
	}
	cut()
}

func (s *socket) hello(ctx context.Context) error {
	// The baton keeps Hello to one caller at a time; where nothing polls it is free.
	if err := s.l.baton.get(ctx); err != nil {
		return err
	}
	h := s.l.hello(s.peer)
	s.l.baton.put()
	h.Standby = s.standby
	frame, err := wire.Encode(&h)
	if err != nil {
		return &peerError{err}
	}
	return s.write(ctx, frame)
}

// write sends one frame. A write that can't end in time breaks the connection.
func (s *socket) write(ctx context.Context, frame []byte) error {
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.l.cfg.Timing.Request)
	defer cancel()
	if err := s.conn.Write(wctx, websocket.MessageText, frame); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// read hands over what arrives until the connection ends; it gives why.
func (s *socket) read(work, reading context.Context, welcomeBy *time.Timer) error {
	for {
		kind, frame, err := s.conn.Read(reading)
		if err != nil {
			if cause := context.Cause(work); cause != nil && !errors.Is(cause, errWrite) {
				return cause
			}
			return err
		}
		if work.Err() != nil {
			continue // saying farewell; what comes now comes again
		}
		s.heard.Store(time.Now().UnixNano())
		if kind != websocket.MessageText {
			return errors.New("a binary frame came")
		}
		msgs, err := wire.Decode(frame)
		if err != nil {
			return err
		}
		s.handling.Store(true)
		for _, m := range msgs {
			if err := s.handle(work, m, welcomeBy); err != nil {
				return err
			}
		}
		s.handling.Store(false)
	}
}

func (s *socket) handle(work context.Context, m wire.Message, welcomeBy *time.Timer) error {
	if w, ok := m.(*wire.Welcome); ok {
		welcomeBy.Stop()
		return s.welcomed(work, w)
	}
	if d, ok := m.(*wire.Drain); ok {
		s.drain(work, time.Duration(d.Within)*time.Millisecond)
		return nil
	}
	if !s.delivering.Load() {
		return nil
	}
	switch m := m.(type) {
	case *wire.Credit:
		s.pump.setCredit(m.Bytes)
	case *wire.Ack:
		s.l.deliver(s.peer, m)
		s.pump.moved()
	default:
		s.l.deliver(s.peer, m)
	}
	s.once.touch()
	return nil
}

func (s *socket) welcomed(work context.Context, w *wire.Welcome) error {
	s.welcomes++
	began := s.welcomes == 1
	if w.Standby {
		if began {
			s.stands()
			s.tasks.Go(func() { s.ping(work, w) })
			s.tasks.Go(func() { s.take(work) })
		}
		return nil
	}
	first := s.delivering.CompareAndSwap(false, true)
	if first {
		s.active(w.Session)
	}
	s.l.deliver(s.peer, w)
	s.pump.welcome(w)
	if !first {
		return nil
	}
	if s.taking.Load() {
		s.l.baton.put()
	}
	if began {
		s.tasks.Go(func() { s.ping(work, w) })
	}
	s.tasks.Go(func() { s.stopWith(s.pump.run(work)) })
	if s.once != nil {
		s.tasks.Go(func() {
			if s.once.wait(work, s.peer) {
				s.stop(errDone)
			}
		})
	}
	return nil
}

func (s *socket) stopWith(err error) {
	if !errors.Is(err, context.Canceled) {
		s.stop(err)
	}
}

// ping notices within w.Dead that the connection leads nowhere.
func (s *socket) ping(work context.Context, w *wire.Welcome) {
	interval, dead := pingTimes(w)
	// Not all at once after a gateway's start.
	wait := time.Duration(rand.Float64() * float64(interval))
	for sleep(work, wait) {
		sent := time.Now()
		lost := s.pingOnce(work, dead-interval) != nil
		if lost && work.Err() == nil && s.heard.Load() < sent.UnixNano() && !s.handling.Load() {
			s.stop(errNoPong)
			return
		}
		wait = interval - time.Since(sent)
	}
}

func (s *socket) pingOnce(ctx context.Context, timeout time.Duration) error {
	pctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := s.conn.Ping(pctx)
	if err == nil {
		s.pongs.Add(1)
	}
	return err
}

// pingTimes reads a welcome's, and keeps them sane.
func pingTimes(w *wire.Welcome) (interval, dead time.Duration) {
	interval, dead = time.Duration(w.Ping)*time.Millisecond, time.Duration(w.Dead)*time.Millisecond
	if interval <= 0 {
		interval = wire.PingInterval
	}
	if dead < 2*interval {
		dead = 2 * interval
	}
	return interval, dead
}

// take waits until the standby has proven itself, and then takes over.
func (s *socket) take(work context.Context) {
	t := s.l.cfg.Timing
	if !sleep(work, t.StandbyFor) {
		return
	}
	if err := s.pingOnce(work, t.Welcome); err != nil {
		if work.Err() == nil {
			s.stop(errNoPong)
		}
		return
	}
	if s.delivering.Load() || s.l.baton.get(work) != nil {
		return
	}
	*s.l.baton.takes++
	s.taking.Store(true) // from here on the baton goes back by welcomed, or by run
	m := &wire.Take{Hello: s.l.hello(s.peer)}
	m.Standby = false
	frame, err := wire.Encode(m)
	if err == nil {
		err = s.write(work, frame)
	}
	if err != nil {
		s.stop(err)
		return
	}
	if sleep(work, t.Welcome) && !s.delivering.Load() {
		s.stop(errNoWelcome)
	}
}

// drain leaves at a random moment within the window; what is on the way is
// finished first.
func (s *socket) drain(work context.Context, within time.Duration) {
	if s.draining {
		return
	}
	s.draining = true
	within = min(max(within, 0), maxRetryAfter)
	s.l.log.Info("the gateway is going; leaving it", "gateway", s.ep.url, "within", within)
	s.tasks.Go(func() {
		if !sleep(work, time.Duration(rand.Float64()*float64(within))) {
			return
		}
		s.pump.close()
		for end := time.Now().Add(s.l.cfg.Timing.Request); s.peer.Unacked() > 0 && time.Now().Before(end); {
			if !sleep(work, 50*time.Millisecond) {
				return
			}
		}
		s.stop(errDrained)
	})
}
