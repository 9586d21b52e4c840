package auth

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

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
