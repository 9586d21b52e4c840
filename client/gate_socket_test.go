package client

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

type gateConn struct {
	g    *gate
	conn *websocket.Conn
	sess int64
	out  sync.Mutex // held over a claim, so that nothing goes out before its welcome
}

func (g *gate) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(wire.MaxFrame)
	c := &gateConn{g: g, conn: conn}
	g.mu.Lock()
	g.conns[c] = true
	g.change()
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.conns, c)
		if g.owner == c {
			g.owner = nil
		}
		g.change()
		g.mu.Unlock()
	}()
	for {
		_, frame, err := conn.Read(context.Background())
		if err != nil {
			g.note("socket ended: %d", websocket.CloseStatus(err))
			return
		}
		msgs, err := wire.Decode(frame)
		if err != nil {
			g.t.Errorf("the gateway can't read %s: %v", frame, err)
			return
		}
		c.receive(msgs)
	}
}

func (c *gateConn) receive(msgs []wire.Message) {
	g := c.g
	var events []wire.Message
	for _, m := range msgs {
		switch m := m.(type) {
		case *wire.Hello:
			if m.Standby {
				g.mu.Lock()
				g.hellos = append(g.hellos, *m)
				g.change()
				g.mu.Unlock()
				c.write(&wire.Welcome{Standby: true, Time: g.clock().UnixMilli(), Ping: g.ping.Milliseconds(), Dead: g.dead.Milliseconds()})
				continue
			}
			c.claimed(*m)
		case *wire.Take:
			g.mu.Lock()
			g.takes++
			g.change()
			g.mu.Unlock()
			if g.onTake == nil || !g.onTake(c) {
				c.claimed(m.Hello)
			}
		default:
			events = append(events, m)
		}
	}
	if len(events) == 0 {
		return
	}
	g.mu.Lock()
	for _, e := range events {
		g.onWay += wire.EventSize(e.(wire.Event))
	}
	if len(events) > 1 && g.onWay > g.credit {
		g.t.Errorf("%d bytes on the way with a credit of %d", g.onWay, g.credit)
	}
	g.mu.Unlock()
	acks := g.record(events)
	g.mu.Lock()
	for _, e := range events {
		g.onWay -= wire.EventSize(e.(wire.Event))
	}
	g.mu.Unlock()
	c.write(acks...)
}

func (c *gateConn) claimed(h wire.Hello) {
	c.out.Lock()
	defer c.out.Unlock()
	msgs, old := c.g.claim(h, c)
	if old != nil && old != c {
		go old.close(wire.CloseSuperseded, "newer")
	}
	c.writeNow(msgs...)
}

func (c *gateConn) write(msgs ...wire.Message) {
	c.out.Lock()
	defer c.out.Unlock()
	c.writeNow(msgs...)
}

func (c *gateConn) writeNow(msgs ...wire.Message) {
	if len(msgs) == 0 {
		return
	}
	b, err := wire.Encode(msgs...)
	if err != nil {
		c.g.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = c.conn.Write(ctx, websocket.MessageText, b) // a connection that broke is the test's wish
}

func (c *gateConn) close(code wire.CloseCode, reason string) {
	c.conn.Close(websocket.StatusCode(code), reason)
}

// active waits for the connection that has the session.
func (g *gate) active() (c *gateConn) {
	g.t.Helper()
	g.wait("a socket with the session", func() bool { c = g.owner; return c != nil })
	return c
}
