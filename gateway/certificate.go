package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// TLSFromFiles gives a TLS configuration that serves the certificate of two PEM files,
// and takes up a renewed one within seconds. A renewal that can't be read is logged, and the
// certificate before it is served on.
func TLSFromFiles(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	stamp, err := c.stamp()
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %s and %s: %w", certFile, keyFile, err)
	}
	c.current, c.loaded, c.checked = &pair, stamp, time.Now()
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// recheck is how often the files are looked at, at most.
const recheck = 2 * time.Second

type certificate struct {
	certFile, keyFile string
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
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			current, loaded = &pair, stamp
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
