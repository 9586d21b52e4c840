package client

import (
	"crypto/ed25519"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/session/wire"
)

// findings runs Diagnose, and gives the checks as "name ok" or "name failed".
func findings(t *testing.T, g *gate, url string, change func(*Config)) (short []string, checks map[string]Check) {
	t.Helper()
	pub, key, _ := ed25519.GenerateKey(nil)
	g.key = pub
	cfg := Config{Gateways: []string{url}, Identity: NewIdentity(g.host, key)}
	if change != nil {
		change(&cfg)
	}
	list, err := Diagnose(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	checks = map[string]Check{}
	for _, c := range list {
		if c.OK {
			short = append(short, c.Name+" ok")
		} else {
			short = append(short, c.Name+" failed")
			if c.Advice == "" {
				t.Errorf("%s failed (%s), and there is no advice", c.Name, c.Detail)
			}
		}
		if c.Detail == "" || c.Gateway != url {
			t.Errorf("check %+v", c)
		}
		checks[c.Name] = c
	}
	return short, checks
}

func expect(t *testing.T, got []string, want string) {
	t.Helper()
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("found %s\nwant  %s", s, want)
	}
}

// TestDiagnoseWay goes without a host's token, and trusts what an enrolment token pins.
func TestDiagnoseWay(t *testing.T) {
	try := func(url string, n Network) (got []string) {
		t.Helper()
		checks, err := DiagnoseWay(t.Context(), []string{url}, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			got = append(got, c.Name+map[bool]string{true: " ok", false: " failed"}[c.OK])
			if c.OK == (c.Advice != "") {
				t.Errorf("%+v", c)
			}
		}
		return got
	}
	e, ca := newEnrolGate(t), newAuthority(t)
	e.key = make(ed25519.PublicKey, ed25519.PublicKeySize) // no host's
	port := serve(t, e.gate, ca.server(true))
	e.mint(t, "https://127.0.0.1:"+port, ca.pin())
	url, pin, err := TokenWay(e.token)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, try(url, Network{CASHA256: pin}), "tcp ok, tls ok, clock ok, gateway ok")
	expect(t, try(url, Network{}), "tcp ok, tls failed")
	expect(t, try("http://127.0.0.1:"+clienttest.FreePort(t), Network{}), "tcp failed")
	g := newGate(t)
	g.hook = func(w http.ResponseWriter, r *http.Request) bool {
		w.Write([]byte("<html>It works!"))
		return true
	}
	expect(t, try("http://127.0.0.1:"+serve(t, g, nil), Network{}), "tcp ok, gateway failed")
	if _, err := DiagnoseWay(t.Context(), nil, Network{}); err == nil {
		t.Error("no gateway, and no error")
	}
}

func TestDiagnose(t *testing.T) {
	t.Run("all well", func(t *testing.T) {
		g, ca := newGate(t), newAuthority(t)
		port := serve(t, g, ca.server(false))
		got, _ := findings(t, g, "https://127.0.0.1:"+port, func(c *Config) { c.Network.CAFile = ca.file() })
		expect(t, got, "tcp ok, tls ok, clock ok, token ok, poll ok, socket ok, ping ok")
		if len(g.hellos) > 0 {
			t.Error("a session was begun")
		}
	})
	t.Run("unknown name", func(t *testing.T) {
		got, _ := findings(t, newGate(t), "https://nobody.invalid", nil)
		expect(t, got, "name failed")
	})
	t.Run("nobody listens", func(t *testing.T) {
		got, _ := findings(t, newGate(t), "http://127.0.0.1:"+clienttest.FreePort(t), nil)
		expect(t, got, "tcp failed")
	})
	t.Run("CA unknown", func(t *testing.T) {
		g := newGate(t)
		got, checks := findings(t, g, "https://127.0.0.1:"+serve(t, g, newAuthority(t).server(true)), nil)
		expect(t, got, "tcp ok, tls failed")
		if !strings.Contains(checks["tls"].Advice, "CA file") {
			t.Error(checks["tls"].Advice)
		}
	})
	t.Run("clock", func(t *testing.T) {
		g := newGate(t)
		g.clock = func() time.Time { return time.Now().Add(-3 * time.Hour) }
		got, checks := findings(t, g, "http://127.0.0.1:"+serve(t, g, nil), nil)
		expect(t, got, "tcp ok, clock failed, token ok, poll ok, socket ok, ping ok")
		if !strings.Contains(checks["clock"].Detail, "3h0m0s") {
			t.Error(checks["clock"].Detail)
		}
	})
	t.Run("unknown key", func(t *testing.T) {
		g := newGate(t)
		_, other, _ := ed25519.GenerateKey(nil)
		got, _ := findings(t, g, "http://127.0.0.1:"+serve(t, g, nil), func(c *Config) { c.Identity = NewIdentity(g.host, other) })
		expect(t, got, "tcp ok, clock ok, token failed, poll failed, socket failed")
	})
	t.Run("upgrades stripped", func(t *testing.T) {
		g := newGate(t)
		got, checks := findings(t, g, nginx(t, serve(t, g, nil), ""), nil)
		expect(t, got, "tcp ok, clock ok, token ok, poll ok, socket failed")
		if !strings.Contains(checks["socket"].Advice, "polls instead") {
			t.Error(checks["socket"].Advice)
		}
	})
	t.Run("something else", func(t *testing.T) {
		g := newGate(t)
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			w.Write([]byte("<html>It works!"))
			return true
		}
		got, _ := findings(t, g, "http://127.0.0.1:"+serve(t, g, nil), nil)
		expect(t, got, "tcp ok, poll failed, socket failed")
	})
	t.Run("frames don't pass", func(t *testing.T) {
		g := newGate(t)
		g.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != wire.PathSocket {
				return false
			}
			swallow(w, r)
			return true
		}
		got, _ := findings(t, g, "http://127.0.0.1:"+serve(t, g, nil), func(c *Config) { c.Timing.Welcome = 100 * time.Millisecond })
		expect(t, got, "tcp ok, clock ok, token ok, poll ok, socket ok, ping failed")
	})
	t.Run("proxy", func(t *testing.T) {
		g := newGate(t)
		port := serve(t, g, nil)
		proxy := squid(t, "", port)
		url := "http://gateway.test:" + port
		got, _ := findings(t, g, url, func(c *Config) { c.Network.Proxy = "http://" + proxy })
		expect(t, got, "tcp ok, proxy ok, clock ok, token ok, poll ok, socket ok, ping ok")

		strict := squid(t, "hush")
		got, checks := findings(t, g, url, func(c *Config) { c.Network.Proxy = "http://u:hush@" + strict })
		expect(t, got, "tcp ok, proxy failed, clock ok, token ok, poll ok, socket failed")
		if !strings.Contains(checks["proxy"].Advice, "443") || strings.Contains(checks["tcp"].Detail, "hush") {
			t.Errorf("%+v", checks)
		}
		got, checks = findings(t, g, url, func(c *Config) { c.Network.Proxy = "http://" + strict })
		expect(t, got, "tcp ok, proxy failed, poll failed, socket failed")
		if !strings.Contains(checks["proxy"].Advice, "443") || !strings.Contains(checks["poll"].Advice, "password") {
			t.Errorf("%+v", checks)
		}
	})
}
