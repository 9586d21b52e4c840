package socket

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

func TestOutlivesTheServersTimeouts(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		c := dial(t, p, hello())
		read(t, c)
		time.Sleep(40 * time.Second)
		m.give("echo")
		if j := read(t, c)[0].(*wire.Job); j.Spec.Script != "echo" {
			t.Errorf("got %+v", j)
		}
	})
}

func TestPingKeepsAlive(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		c := dial(t, p, hello())
		read(t, c)
		done := make(chan error, 1)
		go func() {
			_, _, err := c.Read(context.Background())
			done <- err
		}()
		for range 12 {
			time.Sleep(25 * time.Second)
			if err := c.Ping(t.Context()); err != nil {
				t.Fatalf("no pong: %v", err)
			}
		}
		begin := time.Now()
		err := <-done // no pings any more
		if websocket.CloseStatus(err) != websocket.StatusCode(wire.CloseSilent) || time.Since(begin) < wire.DeadAfter-time.Second || time.Since(begin) > wire.DeadAfter+10*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// TestSlowReader doesn't read for longer than SlowAfter, and then does: it gets
// what was written, and a code that says resume. Its pings meanwhile do no
// harm.
func TestSlowReader(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		c := dial(t, p, hello())
		read(t, c)
		m.give(strings.Repeat("x", wire.InlineScript))
		time.Sleep(2 * time.Second)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			defer cancel()
			c.Ping(ctx) // nobody reads the pong
		}()
		time.Sleep(11 * time.Second)
		if j := read(t, c)[0].(*wire.Job); len(j.Spec.Script) != wire.InlineScript {
			t.Errorf("got %d bytes", len(j.Spec.Script))
		}
		closedWith(t, c, wire.CloseSlow)
	})
}

// TestStuckReader never reads: the connection is cut.
func TestStuckReader(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		c := dial(t, p, hello())
		read(t, c)
		m.give(strings.Repeat("x", wire.InlineScript))
		begin := time.Now()
		for hub.Stats().Sessions > 0 {
			time.Sleep(time.Second)
		}
		if d := time.Since(begin); d < 20*time.Second || d > 32*time.Second {
			t.Errorf("gone after %v", d)
		}
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("a frame that was cut is read")
		}
		if hub.Stats().Closed[wire.CloseSlow] != 1 {
			t.Errorf("%+v", hub.Stats().Closed)
		}
	})
}

func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		typ   websocket.MessageType
		frame string
		code  wire.CloseCode
	}{
		"binary":     {websocket.MessageBinary, `{"type":"credit"}`, wire.CloseMalformed},
		"too large":  {websocket.MessageText, strings.Repeat(" ", wire.MaxFrame+1), wire.CloseMalformed},
		"far larger": {websocket.MessageText, strings.Repeat(" ", 3*wire.MaxFrame), wire.CloseMalformed},
		"largest":    {websocket.MessageText, `{"type":"later","x":"` + strings.Repeat("x", wire.MaxFrame-23) + `"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
				ws := dial(t, p, hello())
				read(t, ws)
				go ws.Write(context.Background(), c.typ, []byte(c.frame))
				if c.code != 0 {
					closedWith(t, ws, c.code)
					return
				}
				synctest.Wait()
				m.give("x")
				read(t, ws)
			})
		})
	}
}

func TestSubprotocol(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		for _, offered := range [][]string{nil, {"rexgate.v9.cbor"}} {
			c, _, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: &http.Transport{DialContext: p.dial}}, Subprotocols: offered,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			closedWith(t, c, wire.CloseVersion)
		}
	})
}

func TestRefused(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		plain := &http.Client{Transport: &http.Transport{DialContext: p.dial, DisableKeepAlives: true}}
		resp, err := plain.Get("http://gateway/")
		if err != nil || resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("a plain GET: %v, %v", resp, err)
		}
		resp.Body.Close()
		hub.Drain(t.Context(), time.Second)
		c, _, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{HTTPClient: plain, Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		closedWith(t, c, wire.CloseOverload)
	})
}

// frame makes a masked text frame, or several.
func frame(payloads ...string) (b []byte) {
	for _, p := range payloads {
		b = append(b, 0x81)
		if len(p) < 126 {
			b = append(b, 0x80|byte(len(p)))
		} else {
			b = append(b, 0x80|126)
			b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		}
		b = append(b, 0, 0, 0, 0) // a mask that changes nothing
		b = append(b, p...)
	}
	return b
}

// TestEarlyBytes sends frames in one segment with the request, before the upgrade
// is answered: they wait in net/http's buffer, which is larger than ours.
func TestEarlyBytes(t *testing.T) {
	hub := session.NewHub(&memory{}, session.Config{Gateway: "gw"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- hub.Run(ctx) }()
	defer func() { cancel(); <-done }()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Accept(w, r, hub, session.Peer{Host: "h", Incarnation: 1}, Options{})
	}))
	defer srv.Close()
	for _, size := range []int{0, 100, readBuffer, 3000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			hello := `{"type":"hello","generation":"g","nonce":"n","facts":{"a":"` + strings.Repeat("f", size) + `"}}`
			out := `{"type":"started","execution":"` + string(queue.NewExecutionID(testJob, "h")) + `","seq":2,"at":1}`
			request := "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + wire.Subprotocol + "\r\n\r\n"
			if _, err := conn.Write(append([]byte(request), frame(hello, out)...)); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			br := bufio.NewReader(conn)
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatal(resp, err)
			}
			var got string
			for !strings.Contains(got, "welcome") || !strings.Contains(got, `"stored":2`) {
				head := make([]byte, 2)
				if _, err := io.ReadFull(br, head); err != nil {
					t.Fatalf("%v after %q", err, got)
				}
				n := int(head[1])
				if n == 126 {
					io.ReadFull(br, head)
					n = int(binary.BigEndian.Uint16(head))
				}
				body := make([]byte, n)
				if _, err := io.ReadFull(br, body); err != nil {
					t.Fatal(err)
				}
				got += string(body)
			}
		})
	}
}

// TestCloseIsOnce closes from several sides at once.
func TestCloseIsOnce(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, m *memory, hub *session.Hub, p *pipes) {
		c := dial(t, p, hello())
		read(t, c)
		for range 10 {
			go hub.Kick("h", wire.CloseRevoked, "gone")
		}
		closedWith(t, c, wire.CloseRevoked)
		synctest.Wait()
		if n := hub.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}
