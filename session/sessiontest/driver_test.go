package sessiontest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/socket"
	"github.com/rexgate/rexgate/poll"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// servers is one HTTP server per hub; requests go to them in turn.
type servers struct {
	urls []string
	n    atomic.Int64
}

func (s *servers) url() string { return s.urls[int(s.n.Add(1))%len(s.urls)] }

// start serves the agents' routes of each hub. The peer is what the header says:
// authentication isn't tested here.
func start(t testing.TB, hubs []*session.Hub) *servers {
	s := &servers{}
	for _, hub := range hubs {
		polls := poll.NewServer(hub, poll.Config{MaxWait: 2 * time.Second})
		with := func(serve func(http.ResponseWriter, *http.Request, session.Peer)) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { serve(w, r, peerOf(r)) }
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+wire.PathPoll, with(polls.ServePoll))
		mux.HandleFunc("POST "+wire.PathMessages, with(polls.ServeMessages))
		mux.HandleFunc("GET "+wire.PathScript, with(polls.ServeScript))
		mux.HandleFunc("GET "+wire.PathSocket, with(func(w http.ResponseWriter, r *http.Request, p session.Peer) {
			if err := socket.Accept(w, r, hub, p, socket.Options{}); err != nil {
				fmt.Fprintln(t.Output(), "refused:", err)
			}
		}))
		srv := httptest.NewServer(mux)
		t.Cleanup(srv.Close)
		s.urls = append(s.urls, srv.URL)
	}
	return s
}

const (
	headerHost        = "X-Test-Host"
	headerIncarnation = "X-Test-Incarnation"
	headerExpires     = "X-Test-Expires"
)

func headersOf(p session.Peer) http.Header {
	h := http.Header{}
	h.Set(headerHost, string(p.Host))
	h.Set(headerIncarnation, strconv.FormatInt(p.Incarnation, 10))
	if !p.Expires.IsZero() {
		h.Set(headerExpires, p.Expires.Format(time.RFC3339Nano))
	}
	return h
}

func peerOf(r *http.Request) session.Peer {
	p := session.Peer{Host: queue.HostID(r.Header.Get(headerHost))}
	p.Incarnation, _ = strconv.ParseInt(r.Header.Get(headerIncarnation), 10, 64)
	p.Expires, _ = time.Parse(time.RFC3339Nano, r.Header.Get(headerExpires))
	return p
}

func (s *servers) Get(t testing.TB, p session.Peer, path string) (int, []byte) {
	t.Helper()
	a, err := exchange(t.Context(), http.MethodGet, s.url()+path, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.status, a.body
}

// line is a link's queue of what came, with its end. It isn't bounded: tests are.
type line struct {
	mu    sync.Mutex
	msgs  []wire.Message
	err   error
	moved chan struct{}
}

func newLine() *line { return &line{moved: make(chan struct{}, 1)} }

func (l *line) put(msgs ...wire.Message) {
	l.mu.Lock()
	l.msgs = append(l.msgs, msgs...)
	l.mu.Unlock()
	l.signal()
}

func (l *line) end(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
	l.signal()
}

func (l *line) signal() {
	select {
	case l.moved <- struct{}{}:
	default:
	}
}

func (l *line) Recv(timeout time.Duration) (wire.Message, error) {
	t := time.NewTimer(timeout)
	defer t.Stop()
	for {
		l.mu.Lock()
		if len(l.msgs) > 0 {
			m := l.msgs[0]
			l.msgs = l.msgs[1:]
			l.mu.Unlock()
			return m, nil
		}
		err := l.err
		l.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-l.moved:
		case <-t.C:
			return nil, context.DeadlineExceeded
		}
	}
}

func webSocketURL(url string) string { return "ws" + strings.TrimPrefix(url, "http") }
