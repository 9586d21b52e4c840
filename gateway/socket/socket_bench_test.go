package socket

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// serve starts a server whose hosts are h1, h2, ... in order of connection.
func serve(b *testing.B) (addr string) {
	hub := session.NewHub(&memory{}, session.Config{Gateway: "gw"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- hub.Run(ctx) }()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Accept(w, r, hub, session.Peer{Host: queue.HostID(fmt.Sprint("h", n.Add(1))), Incarnation: 1}, Options{})
	}))
	b.Cleanup(func() {
		cancel()
		<-done
		srv.Close()
	})
	return srv.Listener.Addr().String()
}

const upgrade = "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + wire.Subprotocol + "\r\n\r\n"

// bare connects without a client's buffers, and says hello.
func bare(b *testing.B, addr string, br *bufio.Reader) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	br.Reset(c)
	if _, err := io.WriteString(c, upgrade); err != nil {
		b.Fatal(err)
	}
	if _, err := http.ReadResponse(br, nil); err != nil {
		b.Fatal(err)
	}
	exchange(b, c, br, `{"type":"hello","generation":"g","nonce":"n","facts":{"os":"linux","arch":"amd64"}}`)
	return c
}

// exchange sends a frame, and drops the one that comes back.
func exchange(b *testing.B, c net.Conn, br *bufio.Reader, payload string) {
	c.Write(frame(payload))
	head := make([]byte, 2)
	if _, err := io.ReadFull(br, head); err != nil {
		b.Fatal(err)
	}
	size := int64(head[1])
	if size == 126 {
		io.ReadFull(br, head)
		size = int64(head[0])<<8 | int64(head[1])
	}
	io.CopyN(io.Discard, br, size)
}

// report sends the events of an instant job, in two frames.
func report(b *testing.B, c net.Conn, br *bufio.Reader, host queue.HostID) {
	x := string(queue.NewExecutionID(testJob, host))
	exchange(b, c, br, `{"type":"accepted","execution":"`+x+`","seq":1,"at":1,"token":"t"}`)
	exchange(b, c, br, `[{"type":"started","execution":"`+x+`","seq":2,"at":1},{"type":"output","execution":"`+x+`","seq":3,"at":1,"stream":"stdout","text":"hello\n"},`+
		`{"type":"finished","execution":"`+x+`","seq":4,"at":1,"outcome":"succeeded"}]`)
}

// BenchmarkReport measures the events of an instant job on one connection, there
// and back, with a store that costs nothing.
func BenchmarkReport(b *testing.B) {
	addr := serve(b)
	br := bufio.NewReader(nil)
	c := bare(b, addr, br)
	b.ReportAllocs()
	for b.Loop() {
		report(b, c, br, "h1")
	}
}
