// Package socket carries sessions over WebSockets.
//
// The HTTP handler returns after the upgrade, so that nothing of the request
// stays in memory: what is left of an idle connection is one goroutine that reads, two
// small buffers, and the session. Nothing else writes on its own; turns of the
// session's hub do. Pings come from the host, and are answered by the reader.
//
// Compression is off: a window per connection costs more memory than all the
// rest together.
package socket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// Options sets Accept up. Zero values are the defaults.
type Options struct {
	// SlowAfter is how long the write of a frame may take; a host that reads
	// slower is closed with wire.CloseSlow once it has read the frame; 10 s.
	SlowAfter time.Duration
	// WriteTimeout is when a write is given up and the connection cut, or up to half as
	// much later, without a code since one can't be written; twice SlowAfter.
	WriteTimeout time.Duration
}

// Accept upgrades a request to a WebSocket, attaches it to the hub, and returns
// after the upgrade. If it can't, it has answered the request, and the error says
// why, for the log. The request must be authenticated as the peer.
func Accept(w http.ResponseWriter, r *http.Request, hub *session.Hub, peer session.Peer, opts Options) error {
	if opts.SlowAfter == 0 {
		opts.SlowAfter = 10 * time.Second
	}
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = 2 * opts.SlowAfter
	}
	c := &conn{slowAfter: opts.SlowAfter}
	hw := &hijacker{ResponseWriter: w, writeTimeout: opts.WriteTimeout}
	ws, err := websocket.Accept(hw, r, &websocket.AcceptOptions{
		Subprotocols:    []string{wire.Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
		// Hosts send no Origin; a browser has no host's token.
		OnPingReceived: c.pinged,
	})
	if err != nil {
		return err
	}
	c.ws = ws
	if ws.Subprotocol() == "" {
		return c.refuse(wire.CloseVersion, fmt.Sprintf("this gateway speaks %s", wire.Subprotocol))
	}
	s, err := hub.Attach(peer, c)
	if err != nil {
		return c.refuse(wire.CloseOverload, wire.CloseReason(5*time.Second, err.Error()))
	}
	c.session = s
	go c.read() // the hub waits for its Detach
	return nil
}

// conn is a session.Conn.
type conn struct {
	ws        *websocket.Conn
	slowAfter time.Duration
	session   *session.Session
	writing   atomic.Int64 // Unix milliseconds when the write under way began; 0 = none
	closing   sync.Once
}

// refuse closes a connection that has no session. It may block for some
// seconds, as Close.
func (c *conn) refuse(code wire.CloseCode, reason string) error {
	c.Close(code, reason)
	return errors.New(reason)
}

// read feeds the session until the connection or the session ends.
func (c *conn) read() {
	defer c.session.Detach() // at the very last
	c.ws.SetReadLimit(-1)    // bounded below, where it gets a code of ours
	for {
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			break
		}
		if typ != websocket.MessageText {
			c.session.End(wire.CloseMalformed, "a binary frame")
			return
		}
		more, err := c.session.ReceiveFrom(r)
		if err != nil {
			break
		}
		if !more {
			return // being closed, which has to read the rest
		}
	}
	c.ws.CloseNow()
}

func (c *conn) pinged(context.Context, []byte) bool {
	c.session.Seen()
	// The pong would wait for a write that is stuck, and end the reader by that.
	began := c.writing.Load()
	return began == 0 || time.Now().UnixMilli()-began < 1000
}

// Write implements session.Conn.
func (c *conn) Write(frame []byte) error {
	began := time.Now()
	c.writing.Store(began.UnixMilli())
	err := c.ws.Write(context.Background(), websocket.MessageText, frame)
	c.writing.Store(0)
	switch took := time.Since(began); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		// In the middle of a frame no other can be written: Close just closes.
		return fmt.Errorf("%w: a frame of %d bytes was not read in %v", session.ErrSlow, len(frame), took)
	case err != nil:
		return err
	case took > c.slowAfter:
		return fmt.Errorf("%w: a frame of %d bytes took %v", session.ErrSlow, len(frame), took)
	}
	return nil
}

// Close implements session.Conn.
func (c *conn) Close(code wire.CloseCode, reason string) {
	c.closing.Do(func() { c.ws.Close(websocket.StatusCode(code), reason) })
}
