package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// records is a store of hosts, which counts how often it is read.
type records struct {
	mu    sync.Mutex
	hosts map[queue.HostID]queue.Host
	reads int
	away  bool
	held  chan struct{} // if set, a read takes until it is closed
}

func (r *records) Host(_ context.Context, id queue.HostID) (queue.Host, error) {
	r.mu.Lock()
	held := r.held
	r.reads++
	h, ok := r.hosts[id]
	away := r.away
	r.mu.Unlock()
	if held != nil {
		<-held
	}
	if away {
		return queue.Host{}, queue.Errorf(queue.Unavailable, "away")
	}
	if !ok {
		return queue.Host{}, queue.Errorf(queue.NotFound, "no host %s", id)
	}
	return h, nil
}

func (r *records) set(h queue.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts[h.ID] = h
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// hostClaims are those of a good token; a test changes what it is about.
func hostClaims(host string) jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{"iss": host, "sub": host, "aud": wire.Audience,
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
}

func sign(t testing.TB, key any, method jwt.SigningMethod, c jwt.Claims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hostToken(t testing.TB, key ed25519.PrivateKey, host string) string {
	return sign(t, key, jwt.SigningMethodEdDSA, hostClaims(host))
}

func fleet(t testing.TB) (*Hosts, *records, ed25519.PrivateKey) {
	key := newKey(t)
	r := &records{hosts: map[queue.HostID]queue.Host{"web-1": {ID: "web-1", Incarnation: 3, PublicKey: public(key)}}}
	return NewHosts(r, HostsConfig{}), r, key
}

func want(t *testing.T, err error, reason Reason) {
	t.Helper()
	if reasonOf(err) != reason {
		t.Errorf("refused as %q (%v), want %q", reasonOf(err), err, reason)
	}
}

func TestOperatorToken(t *testing.T) {
	s := NewSigner(newKey(t))
	token, expires, err := s.SignOperator(Operator{Subject: "ann", Scopes: []string{api.ScopeJobsRead}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.VerifyOperator(token)
	if err != nil || o.Subject != "ann" || !o.Expires.Equal(expires) || len(o.Scopes) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if err := o.Require(api.ScopeJobsRead); err != nil {
		t.Error(err)
	}
	want(t, o.Require(api.ScopeJobsRead, api.ScopeJobsSubmit), Scope)
	_, err = NewSigner(newKey(t)).VerifyOperator(token)
	want(t, err, BadKey)
	for _, bad := range []struct {
		o   Operator
		ttl time.Duration
	}{
		{Operator{Subject: "", Scopes: Scopes()}, time.Hour},
		{Operator{Subject: "a\nb", Scopes: Scopes()}, time.Hour},
		{Operator{Subject: "a"}, time.Hour},
		{Operator{Subject: "a", Scopes: []string{"all"}}, time.Hour},
		{Operator{Subject: "a", Scopes: Scopes()}, 0},
		{Operator{Subject: "a", Scopes: Scopes()}, MaxOperatorTTL + 1},
	} {
		if _, _, err := s.SignOperator(bad.o, bad.ttl); err == nil {
			t.Errorf("%+v for %v was signed", bad.o, bad.ttl)
		}
	}
}

// Each kind of token is refused, by name, where another is needed, though it is signed by the
// very key.
func TestKindsNeverStandIn(t *testing.T) {
	key := newKey(t)
	s := NewSigner(key)
	r := &records{hosts: map[queue.HostID]queue.Host{"rexgate": {ID: "rexgate", Incarnation: 1, PublicKey: public(key)}}}
	hosts := NewHosts(r, HostsConfig{})
	operator, _, err := s.SignOperator(Operator{Subject: "rexgate", Scopes: Scopes()}, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	enroll, _, err := s.SignEnroll(Grant{URL: "https://g"}, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[Kind]string{KindOperator: operator, KindEnroll: enroll, KindHost: hostToken(t, key, "rexgate")}
	checks := map[Kind]func(string) error{
		KindOperator: func(t string) error { _, err := s.VerifyOperator(t); return err },
		KindEnroll:   func(t string) error { _, err := s.VerifyEnroll(t); return err },
		KindHost:     func(tok string) error { _, err := hosts.Verify(t.Context(), tok); return err },
	}
	for needed, check := range checks {
		for kind, token := range tokens {
			err := check(token)
			if kind == needed {
				if err != nil {
					t.Errorf("%s: %v", kind, err)
				}
				continue
			}
			want(t, err, WrongKind)
			if err != nil && (!strings.Contains(err.Error(), needed.called()+" is needed") || !strings.Contains(err.Error(), "this is "+kind.called())) {
				t.Errorf("%s for %s: says %q", kind, needed, err)
			}
		}
	}
}

func TestBearer(t *testing.T) {
	for _, c := range []struct {
		values []string
		token  string
		reason Reason
	}{
		{nil, "", Missing},
		{[]string{"Bearer x.y.z"}, "x.y.z", ""},
		{[]string{"bearer x.y.z"}, "x.y.z", ""},
		{[]string{"Basic dXNlcjpwdw=="}, "", Malformed},
		{[]string{"Bearer"}, "", Malformed},
		{[]string{"Bearer "}, "", Malformed},
		{[]string{"Bearer a", "Bearer b"}, "", Malformed},
		{[]string{"Bearer " + strings.Repeat("x", MaxToken+1)}, "", Malformed},
	} {
		token, err := Bearer(http.Header{"Authorization": c.values})
		if token != c.token || reasonOf(err) != c.reason {
			t.Errorf("%.40q: %q, %v", c.values, token, err)
		}
	}
}

func FuzzTokens(f *testing.F) {
	key := newKey(f)
	s := NewSigner(key)
	hosts, _, hostKey := fleet(f)
	f.Add(hostToken(f, hostKey, "web-1"))
	f.Add("e30.eyJraW5kIjoiaG9zdCIsImlzcyI6IngiLCJzdWIiOiJ4In0.AAAA")
	f.Add("eyJhbGciOiJub25lIn0.eyJraW5kIjoib3BlcmF0b3IifQ.")
	if token, _, err := s.SignOperator(Operator{Subject: "x", Scopes: Scopes()}, time.Hour); err == nil {
		f.Add(token)
	}
	good := map[string]bool{}
	f.Fuzz(func(t *testing.T, token string) {
		_, err1 := s.VerifyOperator(token)
		_, err2 := s.VerifyEnroll(token)
		_, err3 := hosts.Verify(t.Context(), token)
		for _, err := range []error{err1, err2, err3} {
			if err == nil {
				// Only what was signed here is taken: another text that verifies would be a forgery.
				good[token] = true
				if len(good) > 2 {
					t.Fatalf("%q was taken", token)
				}
			} else if reasonOf(err) == "" || len(err.Error()) > 1000 {
				t.Fatalf("%q: %v", token, err)
			}
		}
	})
}
