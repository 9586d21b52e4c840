package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// bed is a whole gateway on a real store and a real port. Whatever is asked of it
// is checked against the OpenAPI file.
type bed struct {
	t      testing.TB
	store  queue.Store
	signer *auth.Signer
	spec   routers.Router
	g      *Gateway
	url    string
	stop   func() error // ends Run and gives its error
	admin  string
}

func newStore(t testing.TB) queue.Store {
	t.Helper()
	s, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "rexgate.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

func newSigner(t testing.TB) *auth.Signer {
	t.Helper()
	return auth.NewSigner(mustKey(t))
}

func mustKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func loadSpec(t testing.TB) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func newBed(t testing.TB) *bed { return newBedOn(t, newStore(t), newSigner(t), nil) }

// newBedOn runs a gateway on a store that others may use too.
func newBedOn(t testing.TB, store queue.Store, signer *auth.Signer, change func(*ServerConfig)) *bed {
	t.Helper()
	_, spec := loadSpec(t)
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	c := ServerConfig{Listener: listen(), Admin: listen(), DrainTime: 20 * time.Second, Gateway: Config{
		Store: store, Name: "test-" + strings.ToLower(rand.Text()[:6]), Signer: signer, PublicURL: "http://gate.test",
	}}
	if t, ok := t.(*testing.T); ok { // a fuzz test can't log
		c.Gateway.Log = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if change != nil {
		change(&c)
	}
	b := &bed{t: t, store: store, signer: signer, spec: spec, url: "http://" + c.Listener.Addr().String(), admin: "http://" + c.Admin.Addr().String()}
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	b.g = s.Gateway()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("the server: %v", err)
		}
	})
	return b
}

func (b *bed) operator(scopes ...string) string { return b.operatorAs("ann", scopes...) }

func (b *bed) operatorAs(subject string, scopes ...string) string {
	b.t.Helper()
	if len(scopes) == 0 {
		scopes = auth.Scopes()
	}
	token, _, err := b.signer.SignOperator(auth.Operator{Subject: subject, Scopes: scopes}, time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// answer is what came back.
type answer struct {
	t       testing.TB
	what    string
	status  int
	header  http.Header
	trailer http.Header
	body    []byte
}

// ask makes a request and checks question and answer against the OpenAPI file. body is
// text, bytes, or something to marshal. headers are name, value, ...
func (b *bed) ask(method, path, token string, body any, headers ...string) *answer {
	b.t.Helper()
	var raw []byte
	switch v := body.(type) {
	case nil:
	case string:
		raw = []byte(v)
	case []byte:
		raw = v
	default:
		var err error
		if raw, err = json.Marshal(v); err != nil {
			b.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, bytes.NewReader(raw))
	if err != nil {
		b.t.Fatal(err)
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	a := &answer{t: b.t, what: method + " " + path, status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		b.t.Fatalf("%s: %v", a.what, err)
	}
	a.trailer = resp.Trailer
	if method != http.MethodHead { // which is GET without a body
		b.conforms(req, raw, a)
	}
	return a
}

// conforms checks an exchange against the OpenAPI file: every answer, and every
// question that got a 2xx.
func (b *bed) conforms(req *http.Request, raw []byte, a *answer) {
	b.t.Helper()
	local := req.Clone(b.t.Context())
	local.URL = &url.URL{Path: req.URL.Path, RawQuery: req.URL.RawQuery}
	local.Body = io.NopCloser(bytes.NewReader(raw))
	route, params, err := b.spec.FindRoute(local)
	if err != nil {
		if a.status != 404 && a.status != 405 {
			b.t.Errorf("%s: answered with %d, but it isn't described: %v", a.what, a.status, err)
		}
		a.problem()
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: local, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateRequest(b.t.Context(), in); err != nil && a.status < 300 {
		b.t.Errorf("%s: answered with %d, but the description forbids it: %.800v", a.what, a.status, err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.status, Header: a.header,
		Options: in.Options, Body: io.NopCloser(bytes.NewReader(a.body))}
	if err := openapi3filter.ValidateResponse(b.t.Context(), out); err != nil {
		b.t.Errorf("%s: the answer (%d) isn't as described: %.800v\n%.500s", a.what, a.status, err, a.body)
	}
	if a.status >= 400 {
		a.problem()
	}
}

// problem reads the problem document, which every error is.
func (a *answer) problem() api.Problem {
	a.t.Helper()
	var p api.Problem
	if err := json.Unmarshal(a.body, &p); err != nil || a.header.Get("Content-Type") != api.ProblemType {
		a.t.Errorf("%s: %d with %q, not a problem document: %.200s", a.what, a.status, a.header.Get("Content-Type"), a.body)
	}
	if p.Status != a.status || p.Type != "urn:rexgate:problem:"+p.Code || p.Title == "" || p.Detail == "" {
		a.t.Errorf("%s: an incomplete problem: %s", a.what, a.body)
	}
	if (a.status == 429 || a.status == 503) && a.header.Get("Retry-After") == "" {
		a.t.Errorf("%s: %d without Retry-After", a.what, a.status)
	}
	return p
}

// is demands a status, and with it a code of the problem ("" = none).
func (a *answer) is(status int, code string) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d %s: %.500s", a.what, a.status, status, code, a.body)
	}
	if code != "" {
		if p := a.problem(); p.Code != code {
			a.t.Fatalf("%s: code %q, want %q: %s", a.what, p.Code, code, p.Detail)
		}
	}
	return a
}

func read[T any](a *answer) T {
	a.t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: %v: %.300s", a.what, err, a.body)
	}
	return v
}

// testLog shows the gateway's log where a test fails.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}
