// Package watch carries live views to operators: over a WebSocket, or as server-sent events where
// sockets are cut. Nothing is read from them.
//
// A carrier writes one message at a time and holds none, so that what a slow reader costs is
// one message. Whoever takes nothing for [SlowAfter] is sent away, to come back and go on where it
// stood.
package watch

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// SlowAfter is how long a reader may take nothing.
const SlowAfter = 30 * time.Second

// cutAfter is when a write to a reader who takes nothing is given up. Until then it
// may still finish, and the reader be told why it is sent away.
const cutAfter = 2 * SlowAfter

// ErrSlow says that the reader took nothing for too long. It can still be told.
var ErrSlow = errors.New("the reader took nothing for too long")

// Carrier carries messages to one reader. It is for one goroutine.
type Carrier interface {
	// Send writes a message, whose cursor is given too. It blocks while the reader doesn't take it. Errors:
	// ErrSlow, or the reader has gone.
	Send(message []byte, cursor string) error
	// End tells the reader why nothing more comes, and when to come back, 0 = as it likes. It
	// may block for some seconds.
	End(code wire.CloseCode, retry time.Duration, reason string)
	// Context ends when the reader has gone.
	Context() context.Context
	// Name of the transport, for metrics.
	Name() string
}

// piece is how much is written at once: whoever takes that within SlowAfter isn't stuck.
const piece = 16 << 10

// patient is a connection that gives each piece of a write its own time.
type patient struct {
	net.Conn
	slow atomic.Bool // a piece took longer than SlowAfter
}

func (c *patient) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		began := time.Now()
		if err := c.Conn.SetWriteDeadline(began.Add(cutAfter)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(b[:min(len(b), piece)])
		n, b = n+m, b[m:]
		if err != nil {
			return n, err
		}
		if time.Since(began) > SlowAfter {
			c.slow.Store(true)
		}
	}
	return n, nil
}
