package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
)

// authority is a private CA.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority writes its certificate into a file of the directory.
func newAuthority(t *testing.T, dir, file string) *authority {
	a := &authority{t: t, dir: dir}
	a.cert, a.key = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "Test CA " + file}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	a.write(file, "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) issue(c, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, by = c, key
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// server writes the certificate of a server on this machine, alone, and its key.
func (a *authority) server(certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "gate"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(certFile, "CERTIFICATE", cert.Raw)
	a.write(keyFile, "PRIVATE KEY", der)
}

// A host enrols by the token's fingerprint alone, though the certificate's file is without
// its CA; a certificate of another CA is refused before anybody relies on it.
func TestPrivateCA(t *testing.T) {
	dir := t.TempDir()
	newAuthority(t, dir, "ca.pem").server("cert.pem", "key.pem")
	newAuthority(t, dir, "other.pem")
	flags := []string{"--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-ca"}
	for _, verb := range []string{"serve", "check-config"} {
		args := append([]string{verb, "--listen", "127.0.0.1:0"}, flags...)
		fails(t, runs(t, rexgate(t, dir, append(args, "other.pem")...)), 1, "cert.pem doesn't lead to the CA", "Test CA other.pem")
	}
	s := serve(t, dir, append(flags, "ca.pem")...)
	if r := runs(t, rexgate(t, dir, "token", "operator", "--out", "token")); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := operator.New(operator.Options{Server: s.url, Token: operator.TokenFile(filepath.Join(dir, "token")), CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	token, err := c.EnrollToken(t.Context(), api.EnrollTokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.Enroll(t.Context(), client.EnrollConfig{Dir: filepath.Join(dir, "host"), Token: token.Token, Host: "web-1"})
	if err != nil {
		t.Fatalf("enrol: %v", err)
	}
	if host, err := c.Host(t.Context(), "web-1"); err != nil || host.Incarnation != 1 {
		t.Errorf("%+v %v, of %v", host, err, id)
	}
}

// rsaKey is a key of another type than operators' tokens are signed with.
func rsaKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
