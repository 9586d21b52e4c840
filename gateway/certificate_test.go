package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A renewal that hosts who pin the CA wouldn't trust isn't taken up.
func TestRenewalByAnotherCA(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, dir, "one.test")
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	complained := make(chan struct{}, 1)
	conf, err := TLSFromFiles(cert, key, ca, slog.New(slog.NewTextHandler(complaint(complained), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	served := func() *tls.Certificate {
		t.Helper()
		pair, err := conf.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	if n := len(served().Certificate); n != 1 {
		t.Errorf("%d certificates, though the CA is in the file", n)
	}
	writeCertificate(t, dir, "two.test")
	until(t, "the foreign renewal is noticed", func() bool { served(); return len(complained) > 0 })
	if got := served().Leaf.DNSNames[0]; got != "one.test" {
		t.Errorf("serves %s", got)
	}
	if _, err := TLSFromFiles(cert, key, ca, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("another CA's certificate: %v", err)
	}
}
