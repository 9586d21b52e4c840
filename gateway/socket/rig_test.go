package socket

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testJob queue.JobID = "01234567890123456789abcdef"

// memory is a store with one job for whoever asks, once it has one.
type memory struct {
	session.Store // what isn't below is never called

	mu     sync.Mutex // guards the following
	epoch  int64
	script string
	hint   func(queue.Hint)
}

func (m *memory) Claim(context.Context, queue.Claim) (queue.Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	return queue.Claimed{Session: m.epoch, Now: time.Now()}, nil
}

func (m *memory) Release(context.Context, queue.HostID, int64) error { return nil }

func (m *memory) Lease(_ context.Context, f queue.Fetch) (queue.Fetched, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := queue.Fetched{Now: time.Now()}
	if m.script != "" && f.After < 1 {
		out.Deliveries = []queue.Delivery{{N: 1, Token: "t", Execution: queue.Execution{Job: testJob, Host: f.Host}}}
	}
	return out, nil
}

func (m *memory) Record(_ context.Context, h queue.HostEvents) ([]queue.Ack, error) {
	last := h.Events[len(h.Events)-1]
	return []queue.Ack{{Execution: last.Execution, Stored: last.Seq}}, nil
}

func (m *memory) Subscribe(ctx context.Context, _ string, fn func(queue.Hint)) error {
	m.mu.Lock()
	m.hint = fn
	m.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (m *memory) Ready(context.Context, string, int) ([]queue.HostID, error) { return nil, nil }

func (m *memory) Alive(context.Context, string, time.Duration) error { return nil }

func (m *memory) Job(context.Context, queue.JobID) (queue.JobStatus, error) {
	return queue.JobStatus{Job: queue.Job{ScriptSize: int64(len(m.script)), Spec: queue.Spec{}.WithDefaults()}}, nil
}

func (m *memory) Script(context.Context, queue.JobID) ([]byte, error) { return []byte(m.script), nil }

// give makes a job wait, and hints at it.
func (m *memory) give(script string) {
	m.mu.Lock()
	m.script = script
	hint := m.hint
	m.mu.Unlock()
	hint(queue.Hint{Hosts: []queue.HostID{"h"}})
}

// pipes is a listener of net.Pipe connections.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.closed); return nil }

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p.conns <- a
	return b, nil
}

// bubble runs a test against a server on pipes, in a bubble of synctest.
func bubble(t *testing.T, opts Options, test func(t *testing.T, m *memory, hub *session.Hub, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		hub := session.NewHub(m, session.Config{Gateway: "gw"})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { hub.Run(ctx) })
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		srv := &http.Server{ReadTimeout: time.Second, WriteTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Accept(w, r, hub, session.Peer{Host: "h", Incarnation: 1}, opts)
		})}
		running.Go(func() { srv.Serve(p) })
		synctest.Wait()
		test(t, m, hub, p)
		cancel()
		srv.Close()
		running.Wait()
	})
}

// dial connects, and says hello.
func dial(t *testing.T, p *pipes, hello wire.Message) *websocket.Conn {
	t.Helper()
	tr := &http.Transport{DialContext: p.dial}
	c, resp, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{wire.Subprotocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("extensions %q", ext)
	}
	c.SetReadLimit(wire.MaxFrame)
	t.Cleanup(func() { c.CloseNow() })
	if hello != nil {
		frame, _ := wire.Encode(hello)
		if err := c.Write(t.Context(), websocket.MessageText, frame); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func hello() *wire.Hello { return &wire.Hello{Generation: "g", Nonce: "n"} }

// read reads a frame.
func read(t *testing.T, c *websocket.Conn) []wire.Message {
	t.Helper()
	_, frame, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := wire.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	return msgs
}

func closedWith(t *testing.T, c *websocket.Conn, code wire.CloseCode) {
	t.Helper()
	_, frame, err := c.Read(t.Context())
	if got := websocket.CloseStatus(err); got != websocket.StatusCode(code) {
		t.Errorf("got %.100s, %v; want close code %d", frame, err, code)
	}
}
