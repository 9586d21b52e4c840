package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

// dialSocket makes the upgrade. A nil connection has an outcome.
func (l *Link) dialSocket(ctx context.Context, ep *endpoint) (*websocket.Conn, outcome) {
	conn, o, again := l.upgrade(ctx, ep)
	if again {
		conn, o, _ = l.upgrade(ctx, ep)
	}
	return conn, o
}

// upgrade tries once; again tells that the token was refused for its time, and the
// time was learnt.
func (l *Link) upgrade(ctx context.Context, ep *endpoint) (_ *websocket.Conn, o outcome, again bool) {
	token, err := l.cfg.Identity.Token()
	if err != nil {
		return nil, failed(faultUnreachable, fmt.Errorf("sign a token: %w", err)), false
	}
	dctx, cancel := context.WithTimeout(ctx, l.cfg.Timing.Handshake)
	defer cancel()
	var asked atomic.Bool // the request went out: what fails then isn't the way there
	dctx = httptrace.WithClientTrace(dctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) { asked.Store(i.Err == nil) }})
	conn, resp, err := websocket.Dial(dctx, ep.url+wire.PathSocket, &websocket.DialOptions{
		HTTPClient:      ep.tunnelled,
		HTTPHeader:      http.Header{"Authorization": {"Bearer " + token}},
		Subprotocols:    []string{wire.Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err == nil && conn.Subprotocol() != wire.Subprotocol {
		conn.CloseNow()
		return nil, failed(faultSocketBroken, errors.New("upgraded, but not to this protocol: something on the way has changed the request")), false
	}
	if err == nil {
		return conn, outcome{}, false
	}
	if ctx.Err() != nil {
		return nil, outcome{}, false
	}
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, dialOutcome(resp, err, asked.Load()), false
	}
	body, _ := io.ReadAll(resp.Body) // its beginning, and in memory already
	p := readProblem(resp.Header, body)
	o = refusedUpgrade(resp, p)
	return nil, o, resp.StatusCode == http.StatusUnauthorized && learnTime(l.cfg.Identity, resp.Header, p)
}

// dialOutcome tells what it means that no answer came, or a wrong one.
func dialOutcome(resp *http.Response, err error, asked bool) outcome {
	var pe *proxyError
	if resp == nil && asked && hungUp(err) {
		return failed(faultHalf, fmt.Errorf("upgrade: %w", err))
	}
	if resp != nil || asked || errors.As(err, &pe) && pe.refuses() {
		return failed(faultSocketBroken, fmt.Errorf("upgrade: %w", err))
	}
	return failed(faultUnreachable, err)
}

// hungUp tells whether the other side ended the connection, rather than answer
// something or nothing.
func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusedUpgrade tells what an answer other than 101 means.
func refusedUpgrade(resp *http.Response, p *problem) outcome {
	if barred(resp.StatusCode, p) {
		return revoked(p)
	}
	o := outcome{
		fault: faultSocketBroken,
		retry: retryAfter(resp.Header, time.Now()),
		err:   fmt.Errorf("upgrade: %w", statusError(resp.StatusCode, p)),
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		o.fault, o.slow = faultRefused, true
	case http.StatusForbidden:
		// Where no gateway said it, something on the way forbids the upgrade, and
		// perhaps not the poll.
		if p != nil {
			o.fault, o.slow = faultRefused, true
		}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		o.fault = faultRefused
	}
	return o
}
