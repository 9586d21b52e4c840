package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/session/wire"
)

// enroll enrols a host that never says more.
func enroll(t *testing.T, s *served, token, host string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	status, body := s.ask("POST", wire.PathEnroll, token, wire.EnrollRequest{Host: host, PublicKey: public, Proof: ed25519.Sign(key, wire.EnrollProof(host, token))})
	if status != 200 {
		t.Fatalf("enrol: %d %s", status, body)
	}
}

// claim reads a claim of a token, unchecked.
func claim(t *testing.T, token, name string) any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims[name]
}
