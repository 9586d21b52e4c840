package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
)

// lastLoopback numbers the loopback addresses of gateways on port 443.
var lastLoopback atomic.Int32

// tlsSite is a site on port 443 of a loopback address of its own, with a certificate of its own CA.
func tlsSite(t *testing.T) *site {
	t.Helper()
	ip := fmt.Sprintf("127.44.3.%d", lastLoopback.Add(1))
	if l, err := net.Listen("tcp", ip+":443"); err != nil {
		clienttest.Lacking(t, "listen on port 443, as only root may: %v", err)
	} else {
		l.Close()
	}
	dir := t.TempDir()
	ca, cert, key := certificates(t, dir, ip)
	s := newSite(t, "sqlite", "--listen", ip+":443", "--public-url", "https://"+gatewayName,
		"--tls-cert", cert, "--tls-key", key, "--tls-ca", ca)
	s.env = append(s.env, "REXCTL_CA="+ca)
	return s
}

// certificates makes a CA, and a certificate by it for the gateway's name and address, as PEM files.
func certificates(t *testing.T, dir, ip string) (ca, cert, key string) {
	t.Helper()
	caKey := newKey(t)
	caCert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caCert, caCert, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafKey := newKey(t)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: gatewayName}, DNSNames: []string{gatewayName}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: caCert.NotBefore, NotAfter: caCert.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, caCert, leafKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, cert, key = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	caPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	write(t, ca, caPEM)
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}))+caPEM)
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return ca, cert, key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
