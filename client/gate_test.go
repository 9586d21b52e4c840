package client

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/session/wire"
)

// gate is a small gateway in memory: it serves one host over socket and poll,
// and keeps what it was told.
type gate struct {
	t      testing.TB
	host   string
	key    ed25519.PublicKey // nil = any token will do
	clock  func() time.Time
	server *http.Server

	// hook may answer a request itself; then it gives true.
	hook func(w http.ResponseWriter, r *http.Request) bool
	// retry is the Retry-After of a poll's answer, without and with messages.
	retry, retryMore string
	ping, dead       time.Duration
	credit           int64
	onTake           func(c *gateConn) bool // true = handled

	mu       sync.Mutex // guards the following
	session  int64
	owner    *gateConn // nil = a poll, or nobody
	n        int64
	waiting  []*item
	acked    map[string]int64 // stored events by execution
	last     map[string]wire.Event
	hellos   []wire.Hello
	takes    int
	requests []string
	changed  chan struct{}
	conns    map[*gateConn]bool
	onWay    int64
	stale    int // accepted with a token that holds no longer
}

// item is a job or cancel that waits.
type item struct {
	exec, token string
	n           int64
}

func newGate(t testing.TB) *gate {
	g := &gate{t: t, host: "web-1", clock: time.Now, retry: "20", retryMore: "0", ping: 25 * time.Second, dead: time.Minute,
		credit: 4096, acked: map[string]int64{}, last: map[string]wire.Event{}, changed: make(chan struct{}), conns: map[*gateConn]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathSocket, g.socket)
	mux.HandleFunc("GET "+wire.PathPoll, g.poll)
	mux.HandleFunc("POST "+wire.PathMessages, g.messages)
	g.server = &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.note("%s %s", r.Method, r.URL.RequestURI())
		if g.hook != nil && g.hook(w, r) {
			return
		}
		if !g.authorised(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	})}
	return g
}

func (g *gate) note(format string, args ...any) {
	g.mu.Lock()
	g.requests = append(g.requests, fmt.Sprintf(format, args...))
	g.change()
	g.mu.Unlock()
}

// asked gives the requests so far.
func (g *gate) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

func (g *gate) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) authorised(w http.ResponseWriter, r *http.Request) bool {
	if g.key == nil {
		return true
	}
	raw := r.Header.Get("Authorization")
	if len(raw) < 7 {
		fail(w, 401, "unauthenticated", "")
		return false
	}
	_, err := jwt.ParseWithClaims(raw[7:], &jwt.RegisteredClaims{}, func(*jwt.Token) (any, error) { return g.key, nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience(wire.Audience), jwt.WithIssuer(g.host), jwt.WithSubject(g.host),
		jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithTimeFunc(g.clock), jwt.WithLeeway(5*time.Second))
	switch {
	case err == nil:
		return true
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		w.Header().Set("Date", g.clock().UTC().Format(http.TimeFormat))
		fail(w, 401, "token_time", "")
	default:
		fail(w, 401, "unauthenticated", "30")
	}
	return false
}

func fail(w http.ResponseWriter, status int, code, retry string) {
	w.Header().Set("Content-Type", "application/problem+json")
	if retry != "" {
		w.Header().Set("Retry-After", retry)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "detail": "test says " + code})
}

// submit lets a job wait for the host; it goes out at once where the host is attached.
func (g *gate) submit(execs ...string) {
	g.mu.Lock()
	for _, x := range execs {
		g.n++
		g.waiting = append(g.waiting, &item{exec: x, token: fmt.Sprint("t", g.n), n: g.n})
	}
	g.change()
	owner := g.owner
	msgs := g.after(g.n - int64(len(execs)))
	g.mu.Unlock()
	if owner != nil {
		owner.write(msgs...)
	}
}

// after gives what waits beyond n. g.mu is held.
func (g *gate) after(n int64) (msgs []wire.Message) {
	for _, i := range g.waiting {
		if i.n > n {
			msgs = append(msgs, &wire.Job{N: i.n, Execution: i.exec, Token: i.token, Time: g.clock().UnixMilli(), Spec: wire.Spec{Script: "true", ScriptSize: 4, ScriptSHA256: strings.Repeat("0", 64), Lane: "default", RunTimeout: 1000}})
		}
	}
	return msgs
}

// claim begins a session for a hello: what waits gets new numbers and tokens.
func (g *gate) claim(h wire.Hello, c *gateConn) ([]wire.Message, *gateConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hellos = append(g.hellos, h)
	old := g.owner
	g.session++
	g.owner = c
	g.onWay = 0
	if c != nil {
		c.sess = g.session
	}
	w := &wire.Welcome{Session: g.session, N: g.n, Time: g.clock().UnixMilli(), Ping: g.ping.Milliseconds(), Dead: g.dead.Milliseconds(), Credit: g.credit, MaxFrame: wire.MaxFrame}
	for _, x := range h.Executions {
		r := wire.Resume{Execution: x.Execution, Stored: g.acked[x.Execution]}
		if r.Stored > 0 {
			r.Verdict = wire.VerdictGo
		}
		w.Executions = append(w.Executions, r)
	}
	msgs := []wire.Message{w}
	for _, i := range g.waiting {
		g.n++
		i.n, i.token = g.n, fmt.Sprint("t", g.n)
	}
	if c != nil {
		msgs = append(msgs, g.after(w.N)...)
	}
	g.change()
	return msgs, old
}

// record stores events as a store does: in order, each once.
func (g *gate) record(msgs []wire.Message) (acks []wire.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range msgs {
		e, ok := m.(wire.Event)
		if !ok {
			g.t.Errorf("got a %s among events", m.Type())
			continue
		}
		id, seq := e.Ref()
		if seq == g.acked[id]+1 {
			if a, ok := e.(*wire.Accepted); ok {
				i := slices.IndexFunc(g.waiting, func(i *item) bool { return i.exec == id && i.token == a.Token })
				if i < 0 {
					g.stale++
					acks = append(acks, &wire.Ack{Execution: id, Verdict: wire.VerdictForget, Reason: "stale_token"})
					continue
				}
				g.waiting = slices.Delete(g.waiting, i, i+1)
			}
			g.acked[id] = seq
			g.last[id] = e
		}
		ack := &wire.Ack{Execution: id, Stored: g.acked[id]}
		if e.Type() == wire.TypeAccepted {
			ack.Verdict = wire.VerdictGo
		}
		acks = append(acks, ack)
	}
	g.change()
	return acks
}

func (g *gate) finished(exec string) bool { // g.mu is held
	_, ok := g.last[exec].(*wire.Finished)
	return ok
}

// wait blocks until cond, which is called under g.mu, holds.
func (g *gate) wait(what string, cond func() bool) {
	g.t.Helper()
	waitFor(g.t, what, &g.mu, func() (chan struct{}, bool) { return g.changed, cond() })
}

func (g *gate) waitFinished(execs ...string) {
	g.t.Helper()
	g.wait(fmt.Sprint(execs, " to be finished"), func() bool {
		return !slices.ContainsFunc(execs, func(x string) bool { return !g.finished(x) })
	})
}

func waitFor(t testing.TB, what string, mu *sync.Mutex, look func() (chan struct{}, bool)) {
	t.Helper()
	patience := 30 * time.Second
	if time.Now().Year() < 2010 { // synctest's time, which begins in 2000
		patience = 6 * time.Hour
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		mu.Lock()
		changed, ok := look()
		mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
