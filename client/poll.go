package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// poller carries a session over requests to one gateway.
type poller struct {
	l    *Link
	ep   *endpoint
	peer Peer
	up   func(session int64)
	once *onceWatch // nil = go on for ever

	wait time.Duration // that a poll is held; shorter where a proxy cuts it

	session int64
	began   time.Time
	first   time.Duration  // until the first poll, as the hello's answer says
	sooner  chan time.Time // when to poll, as the answer to a POST says; holds the last
	pump    *pump
}

// tries is how often a request is repeated in a session whose gateway can't be
// reached, before the next gateway gets a hello.
const tries = 3

// minWait is how short a held poll may get where something cuts longer ones.
const minWait = 5 * time.Second

// sessionEnd ends a poll's session with an outcome; errAgain asks for a new hello.
type sessionEnd struct{ o outcome }

func (e *sessionEnd) Error() string { return e.o.text() }

var errAgain = errors.New("the session isn't the host's current one")

// run says hello, polls and posts, until ctx ends or the gateway doesn't serve.
func (p *poller) run(ctx context.Context) outcome {
	p.wait = p.l.cfg.Timing.Wait
	quick := 0 // sessions that ended at once
	for {
		if o := p.hello(ctx); o != nil {
			return p.unless(ctx, *o)
		}
		err := p.serve(ctx)
		var end *sessionEnd
		var pe *peerError
		switch {
		case ctx.Err() != nil:
			return outcome{}
		case errors.As(err, &end):
			return end.o
		case errors.As(err, &pe):
			return failed(faultTerminal, err)
		case errors.Is(err, errDone):
			return outcome{err: err}
		}
		p.l.log.Debug("the poll's session ended; saying hello again", "gateway", p.ep.url, "session", p.session)
		if quick++; time.Since(p.began) >= p.l.cfg.Timing.Stable {
			quick = 0
		}
		if quick > tries {
			return failed(faultAsked, err)
		}
		if quick > 0 && !sleep(ctx, p.jitter()) {
			return outcome{}
		}
	}
}

func (p *poller) unless(ctx context.Context, o outcome) outcome {
	if ctx.Err() != nil {
		return outcome{}
	}
	return o
}

func (p *poller) jitter() time.Duration {
	return time.Duration(rand.Float64() * float64(p.l.cfg.Timing.BackoffBase))
}

// hello begins a session; nil = it has begun, and the welcome is delivered.
func (p *poller) hello(ctx context.Context) *outcome {
	if err := p.l.baton.get(ctx); err != nil {
		return &outcome{}
	}
	defer p.l.baton.put()
	h := p.l.hello(p.peer)
	body, err := wire.Encode(&h)
	if err != nil {
		o := failed(faultTerminal, &peerError{err})
		return &o
	}
	a, err := p.request(ctx, http.MethodPost, wire.PathMessages, body, 0)
	if err != nil {
		o := failed(faultUnreachable, err)
		return &o
	}
	if a.status != http.StatusOK {
		o := a.outcome()
		if a.malformed() {
			o = a.postOutcome()
		}
		return &o
	}
	msgs, err := wire.Decode(a.body)
	if err == nil && (len(msgs) == 0 || msgs[0].Type() != wire.TypeWelcome) {
		err = errors.New("no welcome in it")
	}
	if err != nil {
		o := failed(faultUnreachable, fmt.Errorf("the answer to hello isn't a gateway's: %w", err))
		return &o
	}
	w := msgs[0].(*wire.Welcome)
	p.session, p.began, p.first = w.Session, time.Now(), max(a.retry, 0)
	p.pump = &pump{peer: p.peer, send: p.post, perFrame: true}
	p.sooner = make(chan time.Time, 1)
	p.up(w.Session)
	for _, m := range msgs {
		p.l.deliver(p.peer, m)
	}
	own := *w // the peer may have kept the other
	w = &own
	if limit := p.l.bodies.get(); limit > 0 && (w.MaxFrame <= 0 || w.MaxFrame > limit) {
		w.MaxFrame = limit
	}
	p.pump.welcome(w)
	return nil
}

// serve polls and posts at the same time, until one of them ends.
func (p *poller) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	posted := make(chan error, 1)
	go func() {
		defer cancel()
		posted <- p.pump.run(ctx)
	}()
	err := p.poll(ctx)
	stopped := ctx.Err() != nil
	cancel()
	perr := <-posted
	if stopped && !errors.Is(perr, context.Canceled) {
		return perr // the posts ended first
	}
	return err
}

// poll fetches messages at the pace that the gateway sets.
func (p *poller) poll(ctx context.Context) error {
	cuts, empty := 0, 0
	for wait := p.first; p.pause(ctx, wait); {
		idle := p.once.quiet(p.peer)
		hold := p.hold()
		sent := time.Now()
		a, err := p.fetch(ctx, hold)
		took := time.Since(sent)
		if ctx.Err() != nil {
			break
		}
		if cut := err != nil || a.status == http.StatusGatewayTimeout || a.status == http.StatusRequestTimeout; cut {
			if took >= minWait && hold > minWait { // it was held, and something on the way can't wait so long
				p.wait = max(minWait, took/2)
			}
			if cuts++; cuts >= tries {
				return p.end(a.answer, err)
			}
			wait = p.jitter()
			continue
		}
		cuts = 0
		n := 0
		if a.status == http.StatusOK {
			if n, err = p.receive(ctx, a); err != nil {
				return err
			}
		}
		p.l.cfg.Observer.polled(Polled{Status: a.status, Hold: hold, Took: took, Retry: a.retry, Messages: n})
		switch a.status {
		case http.StatusOK:
		case http.StatusNoContent:
		case http.StatusConflict:
			return p.conflict(a.answer)
		default:
			if !p.sitsOut(a.answer) {
				return p.end(a.answer, nil)
			}
			p.l.troubled(p.ep, a.answer)
		}
		if n > 0 {
			p.once.touch()
		}
		if n == 0 && idle && p.once.done(p.peer) {
			return errDone
		}
		// Nothing, at once, again and again: no gateway paces like this.
		if empty++; n > 0 || took > time.Second || a.retry != 0 {
			empty = 0
		}
		if wait = a.retry; wait < 0 {
			wait = minWait + 10*p.jitter()
		}
		if empty > tries {
			wait = max(wait, time.Second)
		}
	}
	return ctx.Err()
}

// pause waits for the next poll's time; the answer to a POST may bring it forward, for instance when a
// slot has become free.
func (p *poller) pause(ctx context.Context, wait time.Duration) bool {
	at := time.Now().Add(wait)
	for {
		timer := time.NewTimer(time.Until(at))
		select {
		case <-timer.C:
			return ctx.Err() == nil
		case t := <-p.sooner:
			timer.Stop()
			if t.Before(at) {
				at = t
			}
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// hold is how long the next poll asks to be held.
func (p *poller) hold() time.Duration {
	if p.once != nil || p.wait < 0 {
		return 0
	}
	return (p.wait - time.Duration(rand.Float64()*float64(p.wait/10))).Round(time.Millisecond)
}

// polled is a poll's answer, and how many takes there had been when it was asked for.
type polled struct {
	answer
	takes int
}

func (p *poller) fetch(ctx context.Context, hold time.Duration) (polled, error) {
	if err := p.l.baton.get(ctx); err != nil {
		return polled{}, err
	}
	takes := *p.l.baton.takes
	p.l.baton.put()
	q := url.Values{
		"session": {strconv.FormatInt(p.session, 10)},
		"after":   {strconv.FormatInt(p.l.lastN.get(), 10)},
		"wait":    {hold.String()},
	}
	a, err := p.request(ctx, http.MethodGet, wire.PathPoll+"?"+q.Encode(), nil, hold)
	return polled{a, takes}, err
}

// receive delivers the messages of a poll's answer, and gives how many there were.
func (p *poller) receive(ctx context.Context, a polled) (int, error) {
	msgs, err := wire.Decode(a.body)
	if err != nil {
		return 0, p.end(a.answer, fmt.Errorf("the answer isn't a gateway's: %w", err))
	}
	if err := p.l.baton.get(ctx); err != nil {
		return 0, err
	}
	defer p.l.baton.put()
	if a.takes != *p.l.baton.takes {
		// A take was tried meanwhile. If it failed, the same answer comes again; if it
		// did reach the gateway, this one is void.
		return len(msgs), nil
	}
	for _, m := range msgs {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		p.l.deliver(p.peer, m)
	}
	return len(msgs), nil
}

// sitsOut tells whether a refusal is to be waited for in the session, which needs no
// other hello then: where there is no other gateway to go to, or the gateway is
// still busy with the POST before.
func (p *poller) sitsOut(a answer) bool {
	switch a.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		busy := a.problem != nil && a.problem.Code == codeBusy
		return a.retry >= 0 && (busy || len(p.l.endpoints) == 1)
	}
	return false
}

// conflict reads a 409: another session is the current one, or another machine has
// this identity.
func (p *poller) conflict(a answer) error {
	if a.problem != nil && a.problem.Code == codeDuplicate {
		return p.end(a, nil)
	}
	return errAgain
}

func (p *poller) end(a answer, err error) error {
	if err != nil {
		return &sessionEnd{failed(faultUnreachable, err)}
	}
	return &sessionEnd{a.outcome()}
}

// request makes a request that may take hold longer than others.
func (p *poller) request(ctx context.Context, method, path string, body []byte, hold time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, hold+p.l.cfg.Timing.Request)
	defer cancel()
	return exchange(ctx, p.ep, p.l.cfg.Identity, method, path, body)
}
