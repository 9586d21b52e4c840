package gateway

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/limits"
)

// login logs a browser in, and gives its cookie.
func (b *bed) login(token string) *http.Cookie {
	b.t.Helper()
	return cookieOf(b.ask("POST", "/v1/login", "", api.LoginRequest{Token: token}).is(200, ""))
}

func cookieOf(a *answer) *http.Cookie {
	a.t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		a.t.Fatalf("%s: %d cookies", a.what, len(cookies))
	}
	return cookies[0]
}

func sent(c *http.Cookie) string { return c.Name + "=" + c.Value }

func TestLoginGivesACookie(t *testing.T) {
	b := newBed(t)
	token, expires, err := b.signer.SignOperator(auth.Operator{Subject: "ann", Scopes: []string{api.ScopeJobsRead}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a := b.ask("POST", "/v1/login", "", api.LoginRequest{Token: token}).is(200, "")
	c, who := cookieOf(a), read[api.Login](a)
	if who.Subject != "ann" || len(who.Scopes) != 1 || expires.Sub(who.Expires).Abs() > time.Second {
		t.Errorf("%+v", who)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Secure || c.MaxAge < 3590 || c.MaxAge > 3600 {
		t.Errorf("%+v", c)
	}
	b.ask("GET", "/v1/jobs", "", nil, "Cookie", sent(c)).is(200, "")
	b.ask("GET", "/v1/hosts", "", nil, "Cookie", sent(c)).is(403, codeForbidden) // its scopes are those of the token
	if got := read[api.Login](b.ask("GET", "/v1/login", "", nil, "Cookie", sent(c)).is(200, "")); got.Subject != "ann" || !got.Expires.Equal(who.Expires) {
		t.Errorf("%+v, logged in: %+v", got, who)
	}
	b.ask("GET", "/v1/login", token, nil).is(200, "")
	b.ask("GET", "/v1/login", "", nil).is(401, codeUnauthenticated)

	// Neither of the two tokens is good in the other's place.
	b.ask("GET", "/v1/jobs", c.Value, nil).is(401, codeWrongKind)
	b.ask("GET", "/v1/jobs", "", nil, "Cookie", c.Name+"="+token).is(401, codeWrongKind)
	b.ask("POST", "/v1/login", "", api.LoginRequest{Token: c.Value}).is(401, codeWrongKind)
	// What is in Authorization counts, also beside a good cookie.
	b.ask("GET", "/v1/jobs", "garbage", nil, "Cookie", sent(c)).is(401, codeUnauthenticated)
	stranger := newBedOn(t, b.store, newSigner(t), nil)
	stranger.ask("GET", "/v1/jobs", "", nil, "Cookie", sent(c)).is(401, codeUnauthenticated)
	stranger.ask("GET", "/v1/jobs", "", nil, "Cookie", stranger.login(stranger.operator()).Name+"="+c.Value).is(401, codeUnauthenticated)

	out := b.ask("DELETE", "/v1/login", "", nil, "Cookie", sent(c)).is(204, "")
	if gone := cookieOf(out); gone.Name != c.Name || gone.Value != "" || gone.MaxAge >= 0 || gone.Path != "/" {
		t.Errorf("%+v", gone)
	}
}

func TestLoginRefuses(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", nil)
	for _, c := range []struct {
		name   string
		body   any
		status int
		code   string
	}{
		{"nothing", api.LoginRequest{}, 400, "invalid"},
		{"no body", nil, 400, "invalid"},
		{"both", api.LoginRequest{Token: b.operator(), Code: "x"}, 400, "invalid"},
		{"a host's token", api.LoginRequest{Token: m.token()}, 401, codeWrongKind},
		{"another key's", api.LoginRequest{Token: (&bed{t: t, signer: newSigner(t)}).operator()}, 401, codeUnauthenticated},
		{"garbage", api.LoginRequest{Token: "x.y.z"}, 401, codeUnauthenticated},
		{"a wrong code", api.LoginRequest{Code: "x"}, 401, codeUnauthenticated},
		{"too large", `{"token":"` + strings.Repeat("x", maxLogin) + `"}`, 413, codeTooLarge},
	} {
		if a := b.ask("POST", "/v1/login", "", c.body); a.status != c.status || a.problem().Code != c.code || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
}

func TestLoginCodeWorksOnce(t *testing.T) {
	b := newBed(t)
	other := newBedOn(t, b.store, b.signer, nil)
	code, _ := b.g.LoginCode(auth.Operator{Subject: "demo", Scopes: auth.Scopes(), Expires: time.Now().Add(time.Hour)})
	other.ask("POST", "/v1/login", "", api.LoginRequest{Code: code}).is(401, codeUnauthenticated)
	c := cookieOf(b.ask("POST", "/v1/login", "", api.LoginRequest{Code: code}).is(200, ""))
	b.ask("POST", "/v1/login", "", api.LoginRequest{Code: code}).is(401, codeUnauthenticated)
	for _, bed := range []*bed{b, other} { // the cookie is good on any gateway
		if who := read[api.Login](bed.ask("GET", "/v1/login", "", nil, "Cookie", sent(c)).is(200, "")); who.Subject != "demo" {
			t.Errorf("%+v", who)
		}
	}
}

func TestLoginsAreLimited(t *testing.T) {
	b := newBedOn(t, newStore(t), newSigner(t), func(c *ServerConfig) {
		c.Gateway.Limits = map[limits.Class]limits.Limit{limits.Login: {
			All: limits.Rate{PerSecond: 0.001, Burst: 5}, Each: limits.Rate{PerSecond: 0.001, Burst: 2}}}
	})
	for range 2 {
		b.login(b.operator())
	}
	b.ask("POST", "/v1/login", "", api.LoginRequest{Token: b.operator()}).is(429, codeRateLimited)
	b.login(b.operatorAs("bob"))
	b.ask("POST", "/v1/login", "", api.LoginRequest{Token: "x"}).is(401, codeUnauthenticated)
	b.ask("POST", "/v1/login", "", api.LoginRequest{Token: "x"}).is(503, codeOverloaded)
	b.ask("GET", "/v1/jobs", b.operator(), nil).is(200, "") // others aren't held up by it
}

// Who may use a cookie, by what the browser says of where the request comes from.
func TestOtherSitesCantUseTheCookie(t *testing.T) {
	b := newBed(t)
	c := b.login(b.operator())
	own := b.url
	_, port, _ := strings.Cut(strings.TrimPrefix(own, "http://"), ":")
	const post, get, head, socket = "POST", "GET", "HEAD", "socket"
	for _, c2 := range []struct {
		how, origin, site, mode string
		ok                      bool
	}{
		{post, own, "", "", true},
		{post, own, "same-origin", "cors", true},
		{post, "http://gate.test", "", "", true}, // the public URL
		{post, "http://GATE.test:80", "", "", true},
		{post, "", "", "", false},
		{post, "null", "", "", false},
		{post, "http://evil.test", "", "", false},
		{post, "http://evil.test", "cross-site", "cors", false},
		{post, "http://gate.test.evil.test", "", "", false},
		{post, "http://gate.test@evil.test", "", "", false},
		{post, "http://gate.test:8080", "", "", false},
		{post, "https://gate.test:80", "", "", true},
		{post, "https://gate.test", "", "", false},
		{post, "http://localhost:" + port, "", "", false},
		{post, "http://127.0.0.1", "", "", false},
		{post, "file://", "", "", false},
		{post, own, "cross-site", "navigate", false},
		{post, own, "same-site", "cors", false},
		{socket, own, "", "", true},
		{socket, own, "same-origin", "websocket", true},
		{socket, "", "", "", false},
		{socket, "http://evil.test", "", "", false},
		{socket, "http://evil.test", "cross-site", "websocket", false},
		{socket, own, "cross-site", "websocket", false},
		{get, "", "", "", true},
		{get, "", "none", "navigate", true},
		{get, "", "cross-site", "navigate", true}, // a link leads here
		{get, "", "cross-site", "no-cors", false},
		{get, "", "same-site", "no-cors", false},
		{get, "http://evil.test", "", "", false},
		{get, own, "same-origin", "cors", true},
		{head, "", "cross-site", "no-cors", false},
		{head, "", "", "", true},
	} {
		headers := []string{"Cookie", sent(c)}
		for _, h := range [][2]string{{"Origin", c2.origin}, {"Sec-Fetch-Site", c2.site}, {"Sec-Fetch-Mode", c2.mode}} {
			if h[1] != "" {
				headers = append(headers, h[0], h[1])
			}
		}
		method, path, want := c2.how, "/v1/jobs", 200
		switch c2.how {
		case post: // that passes is wrong otherwise
			want = 400
		case socket:
			method, path, want = "GET", "/v1/jobs", 200
			headers = append(headers, "Upgrade", "websocket", "Connection", "Upgrade")
		}
		if !c2.ok {
			want = 403
		}
		if a := b.ask(method, path, "", nil, headers...); a.status != want {
			t.Errorf("%+v: %d, want %d: %s", c2, a.status, want, a.body)
		}
		// A token in Authorization isn't sent by browsers on their own.
		if a := b.ask(method, path, b.operator(), nil, headers...); a.status == 403 {
			t.Errorf("%+v with a token: %d: %s", c2, a.status, a.body)
		}
	}
	// No other site logs a browser in or out.
	for _, method := range []string{"POST", "DELETE"} {
		b.ask(method, "/v1/login", "", api.LoginRequest{Token: b.operator()}, "Origin", "http://evil.test").is(403, codeForbidden)
		if a := b.ask(method, "/v1/login", "", api.LoginRequest{Token: b.operator()}, "Origin", own); a.status > 204 {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
}

// Over TLS the cookie is for TLS and for this very host.
func TestSecureCookie(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, "gate.test")
	conf, err := TLSFromFiles(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ServerConfig){
		"TLS":            func(c *ServerConfig) { c.TLS, c.Gateway.PublicURL = conf, "" },
		"TLS in front":   func(c *ServerConfig) { c.Gateway.PublicURL = "https://gate.test" },
		"both, and port": func(c *ServerConfig) { c.TLS, c.Gateway.PublicURL = conf, "https://gate.test:8443" },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBedOn(t, newStore(t), newSigner(t), change)
			ask := func(method, path, body string, headers ...string) *answer {
				t.Helper()
				r := httptest.NewRequest(method, "http://gate.test"+path, bytes.NewReader([]byte(body)))
				r.Header.Set("Content-Type", "application/json")
				for i := 0; i < len(headers); i += 2 {
					r.Header.Set(headers[i], headers[i+1])
				}
				if strings.HasPrefix(name, "TLS in front") {
					r.TLS = nil
				} else {
					r.TLS = &tls.ConnectionState{}
				}
				w := httptest.NewRecorder()
				b.g.ServeHTTP(w, r)
				return &answer{t: t, what: method + " " + path, status: w.Code, header: w.Result().Header, body: w.Body.Bytes()}
			}
			c := cookieOf(ask("POST", "/v1/login", `{"token":"`+b.operator()+`"}`).is(200, ""))
			if !c.Secure || !strings.HasPrefix(c.Name, "__Host-rexgate-") || c.Path != "/" || c.Domain != "" {
				t.Errorf("%+v", c)
			}
			ask("GET", "/v1/login", "", "Cookie", sent(c)).is(200, "")
			plain := strings.TrimPrefix(sent(c), "__Host-") // as a neighbour on the same domain could set it
			ask("GET", "/v1/login", "", "Cookie", plain).is(401, codeUnauthenticated)
			ask("POST", "/v1/jobs", "{}", "Cookie", sent(c), "Origin", "https://gate.test").is(400, "invalid")
			// The same host without TLS is another origin, on which anybody on the way may write.
			ask("POST", "/v1/jobs", "{}", "Cookie", sent(c), "Origin", "http://gate.test").is(403, codeForbidden)
		})
	}
}
