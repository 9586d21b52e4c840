package client

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/session/wire"
)

func claimsOf(t *testing.T, id *HostIdentity) *jwt.RegisteredClaims {
	t.Helper()
	token, err := id.Token()
	if err != nil {
		t.Fatal(err)
	}
	claims := &jwt.RegisteredClaims{}
	_, err = jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return id.PublicKey(), nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithoutClaimsValidation())
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, key, _ := ed25519.GenerateKey(nil)
		id := NewIdentity("web-1", key)
		c := claimsOf(t, id)
		if c.Issuer != "web-1" || c.Subject != "web-1" || len(c.Audience) != 1 || c.Audience[0] != wire.Audience {
			t.Errorf("claims %+v", c)
		}
		if !c.IssuedAt.Time.Equal(time.Now()) || c.ExpiresAt.Sub(c.IssuedAt.Time) != 5*time.Minute {
			t.Errorf("from %v to %v", c.IssuedAt, c.ExpiresAt)
		}
		first, _ := id.Token()
		time.Sleep(3 * time.Minute)
		if again, _ := id.Token(); again != first {
			t.Error("a token that is good for two minutes wasn't used again")
		}
		time.Sleep(61 * time.Second)
		if again, _ := id.Token(); again == first {
			t.Error("a token was given in its last minute")
		}

		ahead := time.Now().Add(48 * time.Hour)
		id.Learn(ahead.UnixMilli())
		if c := claimsOf(t, id); !c.IssuedAt.Time.Equal(ahead.Truncate(time.Second)) {
			t.Errorf("signed at %v, the gateway's time is %v", c.IssuedAt, ahead)
		}
		time.Sleep(time.Hour)
		if d := id.Now().Sub(ahead); d != time.Hour {
			t.Errorf("an hour took %v", d)
		}
		id.Learn(0) // nonsense
		if d := id.Now().Sub(ahead); d != time.Hour {
			t.Errorf("learnt from 0: %v", d)
		}
	})
}

// enrolGate enrols hosts as a gateway does.
type enrolGate struct {
	*gate
	token   string
	refuse  int // with this status
	busy    atomic.Int32
	enrolls atomic.Int32
	last    wire.EnrollRequest
}

func newEnrolGate(t *testing.T) *enrolGate {
	e := &enrolGate{gate: newGate(t)}
	e.hook = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != wire.PathEnroll {
			return false
		}
		e.enrolls.Add(1)
		if e.busy.Add(-1) >= 0 {
			fail(w, 503, "overloaded", "0")
			return true
		}
		if e.refuse != 0 {
			fail(w, e.refuse, "conflict", "")
			return true
		}
		b, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(b, &e.last); err != nil {
			t.Error(err)
		}
		if r.Header.Get("Authorization") != "Bearer "+e.token {
			t.Errorf("Authorization: %s", r.Header.Get("Authorization"))
		}
		if !ed25519.Verify(e.last.PublicKey, wire.EnrollProof(e.last.Host, e.token), e.last.Proof) {
			t.Error("the proof is wrong")
		}
		e.key, e.host = e.last.PublicKey, e.last.Host
		json.NewEncoder(w).Encode(wire.EnrollAnswer{Host: e.last.Host, Incarnation: 3, Time: e.clock().UnixMilli()})
		return true
	}
	return e
}

func (e *enrolGate) mint(t *testing.T, url, pin string) {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"kind": "enroll", "url": url, "ca_sha256": pin, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte("only the gateway knows"))
	if err != nil {
		t.Fatal(err)
	}
	e.token = token
}

func TestEnroll(t *testing.T) {
	e := newEnrolGate(t)
	ca := newAuthority(t)
	url := "https://127.0.0.1:" + serve(t, e.gate, ca.server(true))
	e.mint(t, url, ca.pin())
	e.busy.Store(1) // it asks to come back once
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := LoadIdentity(dir); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("before: %v", err)
	}
	cfg := EnrollConfig{Dir: dir, Token: e.token, Host: "web-1", Gateways: []string{"https://other.test/"}}
	id, err := Enroll(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if h := id.Host(); h.Host != "web-1" || h.Incarnation != 3 || strings.Join(h.Gateways, " ") != url+" https://other.test" || h.CAFile != "ca.pem" || h.CASHA256 != ca.pin() {
		t.Errorf("host.json says %+v", h)
	}
	if info, err := os.Stat(filepath.Join(dir, "host.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info.Mode(), err)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// Again is the same key, and a new process finds all it needs.
	if _, err := Enroll(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadIdentity(dir)
	if err != nil || !loaded.PublicKey().Equal(id.PublicKey()) || !loaded.PublicKey().Equal(ed25519.PublicKey(e.last.PublicKey)) {
		t.Fatalf("%v", err)
	}
	link, err := NewLink(Config{Gateways: []string{url}, Identity: loaded, Network: loaded.Network(Network{})})
	if err != nil {
		t.Fatal(err)
	}
	e.retry = "0"
	e.submit(jobA)
	a := newAgent(t)
	if err := link.RunOnce(t.Context(), a, 0); err != nil {
		t.Error(err)
	}
	e.waitFinished(jobA)
}

func TestEnrollRefused(t *testing.T) {
	e := newEnrolGate(t)
	e.refuse = 409
	url := "http://127.0.0.1:" + serve(t, e.gate, nil)
	e.mint(t, url, "")
	dir := t.TempDir()
	var refused *RefusedError
	if _, err := Enroll(t.Context(), EnrollConfig{Dir: dir, Token: e.token, Host: "web-1"}); !errors.As(err, &refused) || refused.Status != 409 || refused.Code != "conflict" {
		t.Errorf("Enroll returned %v", err)
	}
	if _, err := LoadIdentity(dir); !errors.Is(err, ErrNotEnrolled) {
		t.Errorf("after a refusal: %v", err)
	}
}

func TestEnrollTrustsThePinOnly(t *testing.T) {
	for _, c := range []struct {
		name         string
		withCA, same bool
		file         bool
		ok           bool
	}{
		{"the CA in the chain", true, true, false, true},
		{"the CA in a file", false, true, true, true},
		{"the CA nowhere", false, true, false, false},
		{"another CA, even if a file trusts it", true, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnrolGate(t)
			ca := newAuthority(t)
			url := "https://127.0.0.1:" + serve(t, e.gate, ca.server(c.withCA))
			pin := ca.pin()
			if !c.same {
				pin = newAuthority(t).pin()
			}
			e.mint(t, url, pin)
			cfg := EnrollConfig{Dir: t.TempDir(), Token: e.token, Host: "web-1"}
			if c.file {
				cfg.Network.CAFile = ca.file()
			}
			if _, err := Enroll(t.Context(), cfg); (err == nil) != c.ok {
				t.Errorf("Enroll returned %v", err)
			}
			if n := e.enrolls.Load(); (n > 0) != c.ok {
				t.Errorf("%d requests reached a gateway", n)
			}
		})
	}
}

func TestPinChecksTheName(t *testing.T) {
	ca := newAuthority(t)
	g := newGate(t)
	port := serve(t, g, ca.server(true))
	_, key, _ := ed25519.GenerateKey(nil)
	link, err := NewLink(Config{Gateways: []string{"https://localhost:" + port}, Identity: NewIdentity("web-1", key), Network: Network{CASHA256: ca.pin()}})
	if err != nil {
		t.Fatal(err)
	}
	err = link.RunOnce(t.Context(), newAgent(t), 0)
	if err == nil || !strings.Contains(err.Error(), "localhost") || len(g.asked()) > 0 {
		t.Errorf("RunOnce returned %v", err)
	}
}

func TestEnrollTokens(t *testing.T) {
	other, _ := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"kind": "operator", "url": "https://x"}).SignedString([]byte("k"))
	for _, token := range []string{"", "not a token", "a.b.c", other} {
		if _, err := Enroll(t.Context(), EnrollConfig{Dir: t.TempDir(), Token: token, Host: "h"}); err == nil || !strings.Contains(err.Error(), "enrolment token") {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := makeKey(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.json"), []byte(`{"host":"h","gateways":["https://g"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "host.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a key that others may read: %v", err)
	}
	if _, err := makeKey(dir); err == nil {
		t.Error("a key that others may read was enrolled")
	}
	if err := os.Chmod(filepath.Join(dir, "host.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.key"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(dir); err == nil {
		t.Error("a broken key was loaded")
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	id := NewIdentity("h", key)
	for name, cfg := range map[string]Config{
		"no identity": {Gateways: []string{"https://g"}},
		"no gateway":  {Identity: id},
		"scheme":      {Identity: id, Gateways: []string{"ftp://g"}},
		"no host":     {Identity: id, Gateways: []string{"https://"}},
		"user":        {Identity: id, Gateways: []string{"https://a:b@g"}},
		"mode":        {Identity: id, Gateways: []string{"https://g"}, Mode: "carrier pigeon"},
		"proxy":       {Identity: id, Gateways: []string{"https://g"}, Network: Network{Proxy: "socks5://p:1"}},
		"proxy text":  {Identity: id, Gateways: []string{"https://g"}, Network: Network{Proxy: "://secret"}},
		"pin":         {Identity: id, Gateways: []string{"https://g"}, Network: Network{CASHA256: "abc"}},
		"CA file":     {Identity: id, Gateways: []string{"https://g"}, Network: Network{CAFile: "/nonexistent"}},
	} {
		if _, err := NewLink(cfg); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), ":b@") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
}
