package watch

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Socket is a carrier over a WebSocket.
type Socket struct {
	ws      *websocket.Conn
	conn    *patient
	writing context.Context
	reader  context.Context // ends when it has gone, or has said something
	done    chan struct{}   // closed when nothing reads any more
	spoke   bool            // the reader has said something; read after done
}

// CheckSocket tells what is wrong with a request for a WebSocket, before it is upgraded.
// Errors: Invalid.
func CheckSocket(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !slices.Contains(tokens(r.Header, "Connection"), "upgrade") || r.Header.Get("Sec-WebSocket-Version") != "13" || err != nil || len(key) != 16:
		return queue.Errorf(queue.Invalid, "not a WebSocket's handshake (RFC 6455)")
	case !slices.Contains(tokens(r.Header, "Sec-WebSocket-Protocol"), api.WatchProtocol):
		return queue.Errorf(queue.Invalid, "Sec-WebSocket-Protocol: %.100q; this gateway speaks %s", r.Header.Get("Sec-WebSocket-Protocol"), api.WatchProtocol)
	}
	return nil
}

// tokens gives a header's values that are joined by commas, in lower case.
func tokens(h http.Header, name string) []string {
	list := strings.Split(strings.ToLower(strings.Join(h.Values(name), ",")), ",")
	for i, s := range list {
		list[i] = strings.TrimSpace(s)
	}
	return list
}

// AcceptSocket upgrades a request that CheckSocket has nothing against, and whose origin was
// checked. If it can't, it has answered the request. The handler may not return before the
// carrier was closed. When ctx ends, writes are given up, with the connection.
func AcceptSocket(ctx context.Context, w http.ResponseWriter, r *http.Request) (*Socket, error) {
	h := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols: []string{api.WatchProtocol}, CompressionMode: websocket.CompressionDisabled,
		InsecureSkipVerify: true, // the origin was checked where the cookie was
	})
	if err != nil {
		return nil, err
	}
	s := &Socket{ws: ws, conn: h.conn, writing: ctx, done: make(chan struct{})}
	reader, cancel := context.WithCancel(context.Background())
	s.reader = reader
	go func() {
		defer close(s.done)
		defer cancel()
		// This answers pings, and sees the end.
		_, _, err := ws.Reader(context.Background())
		s.spoke = err == nil
	}()
	return s, nil
}

// Send implements Carrier.
func (s *Socket) Send(message []byte, _ string) error {
	if err := s.ws.Write(s.writing, websocket.MessageText, message); err != nil {
		return err
	}
	if s.conn.slow.Load() {
		return ErrSlow
	}
	return nil
}

// End implements Carrier.
func (s *Socket) End(code wire.CloseCode, retry time.Duration, reason string) {
	// Whatever goes wrong, it is closed then.
	_ = s.ws.Close(websocket.StatusCode(code), wire.CloseReason(retry, reason))
}

// Context implements Carrier.
func (s *Socket) Context() context.Context { return s.reader }

// Name implements Carrier.
func (s *Socket) Name() string { return "socket" }

// Close closes the connection, if End hasn't, and waits for what reads from it.
func (s *Socket) Close() {
	select {
	case <-s.done:
		if s.spoke {
			_ = s.ws.Close(websocket.StatusPolicyViolation, "nothing is to be sent here")
		}
	default:
	}
	_ = s.ws.CloseNow() // it may be closed already
	<-s.done
}

// hijacker is a ResponseWriter whose connection is patient.
type hijacker struct {
	http.ResponseWriter
	conn *patient // after Hijack
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, nil, err
	}
	h.conn = &patient{Conn: conn}
	return h.conn, bufio.NewReadWriter(brw.Reader, bufio.NewWriterSize(h.conn, 4<<10)), nil
}
