package client

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// leastBody is what any way must let through: an event, as JSON at its worst.
const leastBody = 16 << 10

// post sends one frame of events until it is stored, and delivers the answer.
func (p *poller) post(ctx context.Context, frame []byte) error {
	path := wire.PathMessages + "?session=" + strconv.FormatInt(p.session, 10)
	for try := 1; ; try++ {
		a, err := p.request(ctx, http.MethodPost, path, frame, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || a.status == http.StatusGatewayTimeout || a.status == http.StatusBadGateway {
			if try >= tries {
				return p.end(a, err)
			}
			if !sleep(ctx, p.jitter()) {
				return ctx.Err()
			}
			continue
		}
		switch a.status {
		case http.StatusOK, http.StatusNoContent:
			return p.posted(ctx, a)
		case http.StatusConflict:
			return p.conflict(a)
		case http.StatusRequestEntityTooLarge:
			if int64(len(frame)) > leastBody {
				// Something on the way takes less than the gateway. The hello rewinds.
				p.l.bodies.set(max(int64(len(frame))/2, leastBody))
				return errAgain
			}
		}
		if !p.sitsOut(a) {
			return &sessionEnd{a.postOutcome()}
		}
		p.l.troubled(p.ep, a)
		try = 0
		if !sleep(ctx, max(a.retry, p.jitter())) {
			return ctx.Err()
		}
	}
}

func (p *poller) posted(ctx context.Context, a answer) error {
	var msgs []wire.Message
	if a.status == http.StatusOK {
		var err error
		if msgs, err = wire.Decode(a.body); err != nil {
			return p.end(a, fmt.Errorf("the answer isn't a gateway's: %w", err))
		}
	}
	if err := p.l.baton.get(ctx); err != nil {
		return err
	}
	defer p.l.baton.put()
	for _, m := range msgs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.l.deliver(p.peer, m)
	}
	p.pump.moved()
	if a.retry >= 0 {
		select {
		case <-p.sooner:
		default:
		}
		p.sooner <- time.Now().Add(a.retry) // there is room: only this goroutine sends
	}
	return nil
}
