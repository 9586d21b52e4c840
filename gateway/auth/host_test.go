package auth

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

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
