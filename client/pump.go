package client

import (
	"context"
	"sync"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// pump takes events from the peer, and gives them to send as frames.
type pump struct {
	peer Peer
	// send carries one frame; when it returns nil, the frame is on the way (socket) or stored (poll).
	send func(ctx context.Context, frame []byte) error
	// perFrame: a poll's body takes the place of the credit.
	perFrame bool

	mu        sync.Mutex // guards the following
	credit    int64
	maxFrame  int64
	closed    bool               // nothing more is pulled
	interrupt context.CancelFunc // of the running Pull
	waiting   chan struct{}      // closed to wake run
}

// welcome sets what a welcome says, which also begins a session.
func (p *pump) welcome(w *wire.Welcome) {
	p.change(func() {
		p.credit = w.Credit
		p.maxFrame = w.MaxFrame
		if p.maxFrame <= 0 || p.maxFrame > wire.MaxFrame {
			p.maxFrame = wire.MaxFrame
		}
	})
}

func (p *pump) setCredit(n int64) { p.change(func() { p.credit = n }) }

// moved says that an ack may have made room.
func (p *pump) moved() { p.change(func() {}) }

// close ends pulling; what was pulled is still sent.
func (p *pump) close() { p.change(func() { p.closed = true }) }

// change applies f, and lets a blocked Pull begin anew with what holds now.
func (p *pump) change(f func()) {
	p.mu.Lock()
	f()
	if p.interrupt != nil {
		p.interrupt()
	}
	if p.waiting != nil {
		close(p.waiting)
		p.waiting = nil
	}
	p.mu.Unlock()
}

// run pumps until ctx ends or send or the peer fails. An error of the peer is a
// *peerError.
func (p *pump) run(ctx context.Context) error {
	for {
		events, maxFrame, err := p.next(ctx)
		if err != nil {
			return err
		}
		frames, err := encodeFrames(events, maxFrame)
		if err != nil {
			return &peerError{err}
		}
		for _, f := range frames {
			if err := p.send(ctx, f); err != nil {
				return err
			}
		}
	}
}

// next pulls. Where send returns what is stored, nothing can be on the way before it: events
// that are neither acknowledged nor given again would never arrive; a new hello
// rewinds to them.
func (p *pump) next(ctx context.Context) ([]wire.Event, int64, error) {
	if !p.perFrame || p.peer.Unacked() == 0 {
		return p.pull(ctx)
	}
	pctx, cancel := context.WithTimeout(ctx, forgottenAfter)
	defer cancel()
	events, maxFrame, err := p.pull(pctx)
	if err != nil && ctx.Err() == nil && pctx.Err() != nil {
		if p.peer.Unacked() > 0 {
			return nil, 0, errAgain
		}
		return nil, maxFrame, nil
	}
	return events, maxFrame, err
}

// forgottenAfter is how long events may be neither acknowledged nor given again after
// the answer to their POST.
const forgottenAfter = 5 * time.Second

// pull blocks until there are events that may be sent.
func (p *pump) pull(ctx context.Context) ([]wire.Event, int64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		unacked := p.peer.Unacked()
		pctx, cancel := context.WithCancel(ctx)
		p.mu.Lock()
		credit, maxFrame := p.credit, p.maxFrame
		room := min(credit-unacked, maxFrame/2)
		if p.perFrame {
			room = maxFrame / 2
		}
		first := unacked == 0
		waiting := make(chan struct{})
		stuck := p.closed || room <= 0 && !first
		if stuck {
			p.waiting = waiting
		} else {
			p.interrupt = cancel
		}
		p.mu.Unlock()
		// An ack may have come between Unacked and the lock; its wake-up is lost then.
		if p.peer.Unacked() != unacked {
			p.moved()
		}
		if stuck {
			cancel()
			select {
			case <-waiting:
			case <-ctx.Done():
			}
			continue
		}
		events, err := p.peer.Pull(pctx, max(room, 0), first)
		interrupted := pctx.Err() != nil
		p.mu.Lock()
		p.interrupt = nil
		p.mu.Unlock()
		cancel()
		switch {
		case err == nil && len(events) > 0:
			return events, maxFrame, nil
		case err == nil || interrupted:
			continue // by change, or by ctx, which the loop's head sees
		default:
			return nil, 0, &peerError{err}
		}
	}
}

// encodeFrames packs events into frames of at most max bytes, where no event is larger
// alone.
func encodeFrames(events []wire.Event, max int64) ([][]byte, error) {
	msgs := make([]wire.Message, len(events))
	for i, e := range events {
		msgs[i] = e
	}
	return wire.Pack(int(max), msgs...)
}

// peerError is a failure of the peer itself: it ends Run.
type peerError struct{ err error }

func (e *peerError) Error() string { return "peer: " + e.err.Error() }
func (e *peerError) Unwrap() error { return e.err }

// baton is held by whoever says hello, or delivers over the poll.
type baton struct {
	held chan struct{}
	// takes counts takes that were sent: what was asked for before one isn't
	// delivered after it. Guarded by the baton.
	takes *int
}

func newBaton() baton { return baton{held: make(chan struct{}, 1), takes: new(int)} }

func (b baton) get(ctx context.Context) error {
	select {
	case b.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b baton) put() { <-b.held }

// sleepUntil waits; false if ctx ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	return sleep(ctx, time.Until(at))
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
