package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/limits"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimits(t *testing.T) {
	b := newBedOn(t, newStore(t), newSigner(t), func(c *ServerConfig) {
		c.Gateway.Limits = map[limits.Class]limits.Limit{
			limits.Operator: {All: limits.Rate{PerSecond: 1000, Burst: 1000}, Each: limits.Rate{PerSecond: 0.01, Burst: 3}},
			limits.Poll:     {All: limits.Rate{PerSecond: 0.01, Burst: 2}, Each: limits.Rate{PerSecond: 100, Burst: 100}},
		}
	})
	for range 3 {
		b.ask("GET", "/v1/jobs", b.operator(), nil).is(200, "")
	}
	a := b.ask("GET", "/v1/jobs", b.operator(), nil).is(429, codeRateLimited)
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 90 || n > 100 {
		t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
	}
	b.ask("GET", "/v1/jobs", b.operatorAs("bob"), nil).is(200, "")
	// By class, before any token is looked at: also those without one count.
	for range 2 {
		b.ask("GET", wire.PathPoll, "", nil).is(401, codeUnauthenticated)
	}
	a = b.ask("GET", wire.PathPoll, "", nil).is(503, codeOverloaded)
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
	}
	b.ask("GET", "/v1/jobs", b.operatorAs("carl"), nil).is(200, "") // another class
	for _, want := range []string{`rexgate_refused_total{class="operator",limit="each"} 1`, `rexgate_refused_total{class="poll",limit="all"} 1`} {
		if !strings.Contains(b.metrics(), want) {
			t.Errorf("not counted: %s", want)
		}
	}
}

func TestMetricsAreBounded(t *testing.T) {
	b := newBed(t)
	job, p := b.running("some-host")
	p.ends(0, 0)
	b.ask("GET", "/v1/strange/"+job.ID, b.operator(), nil).is(404, "not_found")
	text := b.metrics()
	for _, never := range []string{"some-host", job.ID, "strange", "ann"} {
		if strings.Contains(text, never) {
			t.Errorf("the metrics tell of %q", never)
		}
	}
	for _, want := range []string{`rexgate_requests_total{route="submit",status="201"} 1`, "rexgate_polls_held 0", "rexgate_store_used_bytes", "go_goroutines", "rexgate_events_total 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	resp, err := http.Get(b.admin + "/debug/pprof/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("pprof: %d", resp.StatusCode)
	}
}

func TestReadyFollowsStoreAndDrain(t *testing.T) {
	store := newStore(t)
	b := newBedOn(t, store, newSigner(t), nil)
	b.ask("GET", "/readyz", "", nil).is(200, "")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "not ready without a store", func() bool { return b.ask("GET", "/readyz", "", nil).status == 503 })
	b.ask("GET", "/healthz", "", nil).is(200, "")
	a := b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", All: true}).is(503, "unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// A gateway that goes ends waits with what is known, sends sockets away with a
// drain, and then stops.
func TestDrain(t *testing.T) {
	complained := make(chan struct{}, 1)
	b := newBedOn(t, newStore(t), newSigner(t), func(c *ServerConfig) {
		c.DrainTime = time.Hour
		c.Gateway.Log = slog.New(slog.NewTextHandler(complaint(complained), &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	m := b.enroll("web-1", nil)
	ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+wire.PathSocket, &websocket.DialOptions{
		Subprotocols: []string{wire.Subprotocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + m.token()}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	hello, err := wire.Encode(&wire.Hello{Generation: "g", Nonce: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(t.Context(), websocket.MessageText, hello); err != nil {
		t.Fatal(err)
	}
	receive := func(want wire.Type) {
		t.Helper()
		for {
			_, frame, err := ws.Read(t.Context())
			if err != nil {
				t.Fatalf("no %s: %v", want, err)
			}
			msgs, err := wire.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range msgs {
				if msg.Type() == want {
					return
				}
			}
		}
	}
	receive(wire.TypeWelcome)
	job := b.submit(api.JobRequest{Script: "true", All: true})
	receive(wire.TypeJob)
	waited := make(chan *answer)
	go func() { waited <- b.ask("GET", "/v1/jobs/"+job.ID+"?wait=2m", b.operator(), nil) }()
	until(t, "somebody waits", func() bool { return b.g.jobs.Watching() == 1 })
	stopped := make(chan error)
	go func() { stopped <- b.stop() }()
	receive(wire.TypeDrain)
	if a := b.ask("GET", wire.PathSocket, m.token(), nil).is(503, "draining"); a.header.Get("Retry-After") == "" {
		t.Error("an upgrade is refused without Retry-After")
	}
	b.ask("GET", "/readyz", "", nil).is(503, codeDraining)
	if len(complained) > 0 {
		t.Error("what a drain refuses is logged as if something was wrong")
	}
	if j := read[api.Job]((<-waited).is(200, "")); j.FinishedAt != nil {
		t.Errorf("%+v", j)
	}
	ws.Close(websocket.StatusNormalClosure, "")
	// It doesn't use up its drain time, which is longer than any test.
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestFailedListenerEndsRun(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Listener: ln, Gateway: Config{Store: newStore(t), Name: "g", Signer: newSigner(t)}})
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listener") {
		t.Errorf("Run gives %v", err)
	}
}

// complaint is a log that tells that something was logged.
type complaint chan struct{}

func (c complaint) Write(b []byte) (int, error) {
	select {
	case c <- struct{}{}:
	default:
	}
	return len(b), nil
}

func writeCertificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pk}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := TLSFromFiles(cert, key, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("without files: %v", err)
	}
	writeCertificate(t, dir, "one.test")
	complained := make(chan struct{}, 1)
	conf, err := TLSFromFiles(cert, key, nil, slog.New(slog.NewTextHandler(complaint(complained), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	b := newBedOn(t, newStore(t), newSigner(t), func(c *ServerConfig) { c.TLS = conf })
	served := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(b.url, "http://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Error("no HTTP/2")
		}
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := served(); got != "one.test" {
		t.Errorf("serves %s", got)
	}
	writeCertificate(t, dir, "two.test")
	until(t, "the renewed certificate is served", func() bool { return served() == "two.test" })
	if err := os.WriteFile(cert, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the broken renewal is noticed", func() bool { served(); return len(complained) > 0 })
	if got := served(); got != "two.test" {
		t.Errorf("with a broken renewal: serves %s", got)
	}
}

// Whatever is given for a cursor or an id, the answer is a page or a precise refusal.
func FuzzCursors(f *testing.F) {
	b := newBedOn(f, newStore(f), newSigner(f), func(c *ServerConfig) {
		c.Gateway.Limits = map[limits.Class]limits.Limit{limits.Operator: {
			All: limits.Rate{PerSecond: 1e9, Burst: 1e9}, Each: limits.Rate{PerSecond: 1e9, Burst: 1e9}}}
	})
	for _, id := range []string{"a", "b", "c"} {
		b.enroll(id, nil)
	}
	job := b.submit(api.JobRequest{Script: "true", All: true})
	b.submit(api.JobRequest{Script: "true", All: true})
	token := b.operator()
	paths := []string{"/v1/jobs?limit=1", "/v1/hosts?limit=1", "/v1/jobs/" + job.ID + "/executions?limit=1", "/v1/jobs/" + job.ID + "/executions?limit=1&state=queued"}
	get := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		b.g.ServeHTTP(w, r)
		return w
	}
	for i, path := range paths {
		var page struct{ Next string }
		w := get(path)
		if _, after, ok := bytes.Cut(w.Body.Bytes(), []byte(`"next":"`)); ok {
			next, _, _ := bytes.Cut(after, []byte(`"`))
			page.Next = string(next)
		}
		f.Add(uint8(i), page.Next)
	}
	f.Add(uint8(0), "\x00")
	f.Add(uint8(2), "-1")
	f.Add(uint8(2), "99999999999999999999")
	f.Add(uint8(1), strings.Repeat("z", 200))
	f.Fuzz(func(t *testing.T, which uint8, cursor string) {
		w := get(paths[int(which)%len(paths)] + "&after=" + url.QueryEscape(cursor))
		body, _ := io.ReadAll(w.Body)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%d: %s", w.Code, body)
		}
	})
}

// A drain is spread by how many sessions there are.
func TestDrainIsSpread(t *testing.T) {
	g, err := New(Config{Store: newStore(t), Name: "g", Signer: newSigner(t), ReconnectHosts: 600, ReconnectWindow: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if d := g.drainWithin(); d != time.Second {
		t.Errorf("without sessions: %v", d)
	}
	if _, err := New(Config{Store: newStore(t), Name: "g"}); err == nil {
		t.Error("a gateway without a signer")
	}
	var _ http.Handler = g
	var _ queue.Store = g.store
}
