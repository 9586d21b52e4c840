package watch

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipes is a listener within a process, so that its time can be that of a bubble. What is
// written waits until it is read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case p.conns <- b:
		return a, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// serve runs a handler for as long as the test.
func serve(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	p := newPipes()
	srv := &http.Server{Handler: h}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(p) }()
	transport := &http.Transport{DialContext: p.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return &http.Client{Transport: transport}
}

// sent is how a Send went.
type sent struct {
	err  error
	took time.Duration
}

// socket opens a WebSocket to a server that sends one message, and tells how that went; then, if asked
// to, it ends the watch.
func socket(t *testing.T, message []byte, end func(*Socket)) (*websocket.Conn, chan sent) {
	t.Helper()
	went := make(chan sent, 1)
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := CheckSocket(r); err != nil {
			t.Errorf("not a handshake: %v", err)
		}
		s, err := AcceptSocket(t.Context(), w, r)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer s.Close()
		began := time.Now()
		err = s.Send(message, "")
		went <- sent{err, time.Since(began)}
		if end != nil {
			end(s)
		} else {
			<-s.Context().Done()
		}
	})
	ws, _, err := websocket.Dial(t.Context(), "ws://gate.test/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{api.WatchProtocol}})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { ws.CloseNow() })
	return ws, went
}

func TestSocketToAQuickReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		message := []byte(strings.Repeat("x", 10*piece))
		ws, went := socket(t, message, func(s *Socket) { s.End(wire.CloseDrain, 1500*time.Millisecond, "going") })
		_, got, err := ws.Read(t.Context())
		if err != nil || string(got) != string(message) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if s := <-went; s.err != nil {
			t.Error(s.err)
		}
		_, _, err = ws.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusCode(wire.CloseDrain) || closed.Reason != "retry=2; going" {
			t.Errorf("%v", err)
		}
	})
}

// Who takes something now and then is slow, but isn't sent away.
func TestSocketToAReaderThatTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, went := socket(t, []byte(strings.Repeat("x", 10*piece)), func(s *Socket) { s.End(wire.CloseExpired, 0, "expired") })
		_, r, err := ws.Reader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for got := 0; got < 10*piece; {
			time.Sleep(SlowAfter / 20)
			n, err := r.Read(make([]byte, 1024))
			if got += n; err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
		}
		if s := <-went; s.err != nil || s.took < 2*SlowAfter {
			t.Errorf("%+v", s)
		}
	})
}

// Who wakes up in time is told to resume.
func TestSocketToAReaderWhoSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, went := socket(t, []byte(strings.Repeat("x", 10*piece)), func(s *Socket) { s.End(wire.CloseSlow, 0, "resume") })
		time.Sleep(SlowAfter + 10*time.Second)
		if _, _, err := ws.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := <-went; !errors.Is(s.err, ErrSlow) {
			t.Errorf("%+v", s)
		}
		_, _, err := ws.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusCode(wire.CloseSlow) {
			t.Errorf("%v", err)
		}
	})
}

// Who doesn't is cut.
func TestSocketToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, went := socket(t, []byte(strings.Repeat("x", 10*piece)), nil)
		if s := <-went; s.err == nil || s.took != cutAfter {
			t.Errorf("%+v", s)
		}
	})
}

// A gateway that goes doesn't wait for who doesn't read.
func TestSocketIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		went := make(chan sent, 1)
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			s, err := AcceptSocket(ctx, w, r)
			if err != nil {
				t.Errorf("accept: %v", err)
				return
			}
			defer s.Close()
			began := time.Now()
			err = s.Send([]byte(strings.Repeat("x", 10*piece)), "")
			went <- sent{err, time.Since(began)}
			<-s.Context().Done()
		})
		ws, _, err := websocket.Dial(t.Context(), "ws://gate.test/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{api.WatchProtocol}})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		time.AfterFunc(time.Second, cancel)
		if s := <-went; s.err == nil || s.took != time.Second {
			t.Errorf("%+v", s)
		}
	})
}

// A message from the reader ends the watch: there is nothing to be said.
func TestSocketIsNotReadFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws, went := socket(t, []byte("{}"), nil)
		if _, _, err := ws.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-went
		if err := ws.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		_, _, err := ws.Read(t.Context())
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("%v", err)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			e, err := AcceptEvents(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Hour) // the beginning is there meanwhile
			for _, err := range []error{e.Send([]byte(`{"a":1}`), "c.1"), e.Send([]byte(`{}`), "")} {
				if err != nil {
					t.Error(err)
				}
			}
			e.End(wire.CloseDrain, 1500*time.Millisecond, "going")
		})
		began := time.Now()
		resp, err := client.Get("http://gate.test/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if time.Since(began) > 0 || resp.Header.Get("Content-Type") != EventStream || !strings.Contains(resp.Header.Get("Cache-Control"), "no-transform") {
			t.Errorf("after %v: %v", time.Since(began), resp.Header)
		}
		var text strings.Builder
		if _, err := bufio.NewReader(resp.Body).WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		want := "id: c.1\ndata: {\"a\":1}\n\ndata: {}\n\nretry: 2000\nevent: end\ndata: {\"code\":4000,\"retry\":2,\"reason\":\"going\"}\n\n"
		if text.String() != want {
			t.Errorf("%q", text.String())
		}
	})
}

// Who takes no events is cut, also where the message is large.
func TestEventsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		went := make(chan sent, 1)
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			e, err := AcceptEvents(w, r)
			if err != nil {
				t.Error(err)
				return
			}
			began := time.Now()
			err = e.Send([]byte(strings.Repeat("x", 10*piece)), "")
			went <- sent{err, time.Since(began)}
		})
		resp, err := client.Get("http://gate.test/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if s := <-went; s.err == nil || s.took != SlowAfter {
			t.Errorf("%+v", s)
		}
	})
}
