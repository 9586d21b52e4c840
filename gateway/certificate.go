package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSFromFiles gives a TLS configuration that serves the certificate of two PEM files,
// and takes up a renewed one within seconds. A renewal that can't be read is logged, and the
// certificate before it is served on.
//
// With a ca, which may be nil, the certificate must be from it, as hosts that pin it will
// check, and it is sent behind the files' chain if it isn't in there.
func TLSFromFiles(certFile, keyFile string, ca *x509.Certificate, log *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, ca: ca, log: log}
	stamp, err := c.stamp()
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	pair, err := c.load()
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	c.current, c.loaded, c.checked = pair, stamp, time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// recheck is how often the files are looked at, at most.
const recheck = 2 * time.Second

type certificate struct {
	certFile, keyFile string
	ca                *x509.Certificate // that the chain must lead to; nil = any
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	loaded  string // stamp of the files that current is from
	checked time.Time
	busy    bool
}

// stamp changes when the files do.
func (c *certificate) stamp() (string, error) {
	text := ""
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
	}
	return text, nil
}

// load reads the files, and completes the chain by the CA.
func (c *certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	if c.ca == nil {
		return &pair, nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(c.ca)
	sent := false
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.certFile, err)
		}
		between.AddCert(cert)
		sent = sent || cert.Equal(c.ca)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
		return nil, fmt.Errorf("%s doesn't lead to the CA that hosts shall trust (%s): %w", c.certFile, c.ca.Subject, err)
	}
	if !sent {
		pair.Certificate = append(pair.Certificate, c.ca.Raw)
	}
	return &pair, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	current, loaded := c.current, c.loaded
	if c.busy || time.Since(c.checked) < recheck {
		c.mu.Unlock()
		return current, nil
	}
	c.busy = true
	c.mu.Unlock()

	stamp, err := c.stamp()
	if err == nil && stamp != loaded {
		var pair *tls.Certificate
		if pair, err = c.load(); err == nil {
			current, loaded = pair, stamp
			c.log.Info("the TLS certificate was renewed", "file", c.certFile)
		}
	}
	if err != nil {
		// Half a renewal looks like this too; the next look will see it whole.
		c.log.Warn("the TLS certificate can't be renewed", "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.checked = false, time.Now()
	c.current, c.loaded = current, loaded
	return current, nil
}
