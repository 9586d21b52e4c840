package sessiontest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// Socket is the transport of package socket.
func socketTransport() Transport {
	return Transport{Kind: queue.TransportSocket, Start: func(t testing.TB, hubs []*session.Hub) Carrier {
		return &socketCarrier{servers: start(t, hubs)}
	}}
}

type socketCarrier struct{ *servers }

type socketLink struct {
	*line
	t    testing.TB
	conn *websocket.Conn
	stop context.CancelFunc
	done chan struct{}
}

func (c *socketCarrier) Dial(t testing.TB, peer session.Peer, hello wire.Hello) Link {
	l := &socketLink{line: newLine(), t: t, done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	conn, _, err := websocket.Dial(ctx, webSocketURL(c.url())+wire.PathSocket, &websocket.DialOptions{
		HTTPHeader: headersOf(peer), Subprotocols: []string{wire.Subprotocol},
	})
	if err != nil {
		stop()
		l.end(err)
		close(l.done)
		return l
	}
	conn.SetReadLimit(wire.MaxFrame)
	l.conn = conn
	t.Cleanup(l.Cut)
	l.Send(&hello)
	go l.read(ctx)
	return l
}

func (l *socketLink) read(ctx context.Context) {
	defer close(l.done)
	for {
		_, frame, err := l.conn.Read(ctx)
		if err != nil {
			var ce websocket.CloseError
			if errors.As(err, &ce) {
				retry, text := wire.ParseCloseReason(ce.Reason)
				err = &Closed{Code: wire.CloseCode(ce.Code), Reason: text, Retry: retry}
			}
			l.end(err)
			return
		}
		msgs, err := wire.Decode(frame)
		if err != nil {
			l.end(fmt.Errorf("%w in %.200s", err, frame))
			return
		}
		l.put(msgs...)
	}
}

func (l *socketLink) Send(msgs ...wire.Message) {
	frame, err := wire.Encode(msgs...)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.SendRaw(frame)
}

// SendRaw ignores errors: the connection's end shows in Recv.
func (l *socketLink) SendRaw(frame []byte) {
	l.conn.Write(context.Background(), websocket.MessageText, frame)
}

func (l *socketLink) Cut() {
	if l.conn != nil {
		l.stop()
		l.conn.CloseNow()
	}
	<-l.done
}
