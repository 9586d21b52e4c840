package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

func TestHostToken(t *testing.T) {
	hosts, _, key := fleet(t)
	h, err := hosts.Verify(t.Context(), hostToken(t, key, "web-1"))
	if err != nil || h.ID != "web-1" || h.Incarnation != 3 || time.Until(h.Expires) < 4*time.Minute {
		t.Fatalf("%+v, %v", h, err)
	}
	with := func(k string, v any) jwt.MapClaims {
		c := hostClaims("web-1")
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
		return c
	}
	now := time.Now().Unix()
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		reason Reason
	}{
		"kind said":         {with("kind", "host"), ""},
		"within the leeway": {jwt.MapClaims{"iss": "web-1", "sub": "web-1", "aud": wire.Audience, "iat": now - 60, "exp": now - 5}, ""},
		"expired":           {with("exp", now-60), Time},
		"from the future":   {with("iat", now+60), Time},
		"not before":        {with("nbf", now+60), Time},
		"lives too long":    {with("exp", now+3600), Time},
		"no exp":            {with("exp", nil), Malformed},
		"no iat":            {with("iat", nil), Malformed},
		"no audience":       {with("aud", nil), Malformed},
		"other audience":    {with("aud", "else"), Malformed},
		"other issuer":      {with("iss", "web-2"), WrongKind},
		"host kind, other issuer": {jwt.MapClaims{"kind": "host", "iss": "web-2", "sub": "web-1", "aud": wire.Audience,
			"iat": now, "exp": now + 60}, Malformed},
		"unknown host":  {hostClaims("web-9"), Unknown},
		"not an id":     {hostClaims("../x"), Malformed},
		"operator kind": {with("kind", "operator"), WrongKind},
		"strange kind":  {with("kind", "x"), WrongKind},
		"wrong types":   {with("sub", 7), Malformed},
		"exp of text":   {with("exp", "soon"), Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := hosts.Verify(t.Context(), sign(t, key, jwt.SigningMethodEdDSA, c.claims))
			if c.reason != "" || err != nil {
				want(t, err, c.reason)
			}
		})
	}
	t.Run("by another key", func(t *testing.T) {
		_, err := hosts.Verify(t.Context(), hostToken(t, newKey(t), "web-1"))
		want(t, err, BadKey)
	})
	t.Run("HS256 with the public key", func(t *testing.T) {
		_, err := hosts.Verify(t.Context(), sign(t, []byte(public(key)), jwt.SigningMethodHS256, hostClaims("web-1")))
		want(t, err, BadKey)
		if !strings.Contains(err.Error(), "only EdDSA") {
			t.Errorf("says %q", err)
		}
	})
	t.Run("none", func(t *testing.T) {
		_, err := hosts.Verify(t.Context(), sign(t, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone, hostClaims("web-1")))
		want(t, err, BadKey)
	})
	t.Run("crit", func(t *testing.T) {
		tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, hostClaims("web-1"))
		tok.Header["crit"] = []string{"b64"}
		s, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = hosts.Verify(t.Context(), s)
		want(t, err, Malformed)
	})
	for _, s := range []string{"", "x", "a.b", "a.b.c", "..", strings.Repeat("a", MaxToken+1), "e30.e30.e30", "e30.bnVsbA.e30"} {
		if _, err := hosts.Verify(t.Context(), s); err == nil {
			t.Errorf("%.20q was taken", s)
		}
	}
}

func TestTimeErrorTellsTheTime(t *testing.T) {
	hosts, _, key := fleet(t)
	c := hostClaims("web-1")
	c["exp"] = time.Now().Unix() - 3600
	_, err := hosts.Verify(t.Context(), sign(t, key, jwt.SigningMethodEdDSA, c))
	if err == nil || !strings.Contains(err.Error(), time.Now().UTC().Format("2006-01-02T15:04")) {
		t.Errorf("says %v", err)
	}
}

func TestKeyIsCachedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, r, old := fleet(t)
		token := hostToken(t, old, "web-1")
		verify := func(token string) error { _, err := hosts.Verify(t.Context(), token); return err }
		for range 100 {
			if err := verify(token); err != nil {
				t.Fatal(err)
			}
		}
		if r.reads != 1 {
			t.Errorf("%d readings for 100 requests", r.reads)
		}
		// Enrolled anew on this gateway: at once.
		fresh := newKey(t)
		r.set(queue.Host{ID: "web-1", Incarnation: 4, PublicKey: public(fresh)})
		hosts.Forget("web-1")
		want(t, verify(token), BadKey)
		if err := verify(hostToken(t, fresh, "web-1")); err != nil {
			t.Error(err)
		}
		// Enrolled anew on another gateway: the new key works within a second or so, the old one
		// at most for the cache's time.
		time.Sleep(2 * time.Second)
		newer := newKey(t)
		r.set(queue.Host{ID: "web-1", Incarnation: 5, PublicKey: public(newer)})
		if err := verify(hostToken(t, newer, "web-1")); err != nil {
			t.Error(err)
		}
		want(t, verify(hostToken(t, fresh, "web-1")), BadKey)
		r.set(queue.Host{ID: "web-1", Incarnation: 5, PublicKey: public(newer), Revoked: true})
		time.Sleep(11 * time.Second)
		want(t, verify(hostToken(t, newer, "web-1")), Revoked)
		// Bad signatures don't make the store work.
		before := r.reads
		for range 100 {
			want(t, verify(hostToken(t, old, "web-1")), BadKey)
		}
		if n := r.reads - before; n > 1 {
			t.Errorf("%d readings for 100 bad signatures", n)
		}
	})
}

func TestCachedTokenStillExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, _, key := fleet(t)
		token := hostToken(t, key, "web-1")
		for range 4*60 + 30 {
			if _, err := hosts.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		_, err := hosts.Verify(t.Context(), token)
		want(t, err, Time)
	})
}

func TestForgetBeatsAReadingOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts, r, old := fleet(t)
		r.held = make(chan struct{})
		token := hostToken(t, old, "web-1")
		ended := make(chan error, 1)
		go func() { _, err := hosts.Verify(t.Context(), token); ended <- err }()
		synctest.Wait() // it has read the old key, and not kept it yet
		r.set(queue.Host{ID: "web-1", Incarnation: 4, PublicKey: public(newKey(t))})
		hosts.Forget("web-1")
		close(r.held)
		r.mu.Lock()
		r.held = nil
		r.mu.Unlock()
		if err := <-ended; err != nil {
			t.Fatal(err) // it began before
		}
		_, err := hosts.Verify(t.Context(), token)
		want(t, err, BadKey)
	})
}

func TestStoreAwayIsNoRefusal(t *testing.T) {
	hosts, r, key := fleet(t)
	r.away = true
	_, err := hosts.Verify(t.Context(), hostToken(t, key, "web-1"))
	if queue.CodeOf(err) != queue.Unavailable {
		t.Errorf("got %v", err)
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

func TestEnrollToken(t *testing.T) {
	s := NewSigner(newKey(t))
	in := Grant{URL: "https://gate", CASHA256: strings.Repeat("a", 64), Hosts: "web-*", Labels: map[string]string{"role": "web"}, Uses: 3, Replace: true}
	token, _, err := s.SignEnroll(in, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.VerifyEnroll(token)
	if err != nil || g.ID == "" || g.URL != in.URL || g.CASHA256 != in.CASHA256 || g.Uses != 3 || !g.Replace || g.Labels["role"] != "web" {
		t.Fatalf("%+v, %v", g, err)
	}
	key := newKey(t)
	request := func(host string) wire.EnrollRequest {
		return wire.EnrollRequest{Host: host, PublicKey: public(key), Proof: ed25519.Sign(key, wire.EnrollProof(host, token))}
	}
	e, err := g.Admit(token, request("web-1"))
	if err != nil || e.Host != "web-1" || e.Token != g.ID || e.Uses != 3 || !e.Replace || !e.PublicKey.Equal(public(key)) {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = g.Admit(token, request("db-1"))
	want(t, err, Used)
	stolen := request("web-1")
	stolen.Host = "web-2"
	_, err = g.Admit(token, stolen)
	want(t, err, BadKey)
	stolen = request("web-1")
	stolen.PublicKey = public(newKey(t))
	_, err = g.Admit(token, stolen)
	want(t, err, BadKey)
	for _, bad := range []wire.EnrollRequest{{}, {Host: "a/b"}, {Host: "web-1", PublicKey: []byte("short")}} {
		if _, err := g.Admit(token, bad); queue.CodeOf(err) != queue.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, bad := range []Grant{{Hosts: "[a"}, {Uses: -1}, {Labels: map[string]string{"": "x"}}, {Labels: large()}} {
		if _, _, err := s.SignEnroll(bad, time.Hour); queue.CodeOf(err) != queue.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, _, err := s.SignEnroll(Grant{}, MaxEnrollTTL+1); queue.CodeOf(err) != queue.Invalid {
		t.Errorf("a long life: %v", err)
	}
}

func large() map[string]string {
	m := map[string]string{}
	for i := range 60 {
		m[strings.Repeat("k", 1+i)] = strings.Repeat("v", 250)
	}
	return m
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", KeyFile)
	var wg sync.WaitGroup
	signers := make([]*Signer, 8)
	made := make([]bool, 8)
	for i := range signers {
		wg.Go(func() {
			var err error
			if signers[i], made[i], err = LoadOrCreateSigner(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	for i, s := range signers {
		if s == nil || !s.public.Equal(signers[0].public) {
			t.Fatal("different keys from one file")
		}
		if made[i] {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 8 say that they made the key", n)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left beside the key: %v, %v", left, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(path); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(path+"2", []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateSigner(path + "2"); err == nil || !strings.Contains(err.Error(), "no PEM") {
		t.Errorf("junk: %v", err)
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
