package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
)

func newServe() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a gateway",
		Long: `Runs a gateway until SIGTERM or SIGINT. By default it keeps everything in one file of
the data directory; several gateways share a Redis (--redis).`,
		Args: program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := c.load(cmd.Flags()); err != nil {
				return err
			}
			log, err := c.newLog(cmd.ErrOrStderr())
			if err != nil {
				return program.Usage(err)
			}
			return c.serve(cmd.Context(), cmd.OutOrStdout(), log)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// serve opens what a gateway needs, runs it until ctx ends, and closes all again.
func (c *config) serve(ctx context.Context, out io.Writer, log *slog.Logger) (err error) {
	ca, err := c.readCA()
	if err != nil {
		return err
	}
	g := c.gatewayConfig(ca, log)
	if c.dataDir != "" {
		if err := os.MkdirAll(c.dataDir, 0o700); err != nil {
			return fmt.Errorf("can't make the data directory: %w", err)
		}
	}
	s := gateway.ServerConfig{DrainTime: c.drainTime}
	if s.TLS, err = c.tls(ca, log); err != nil {
		return err
	}
	if s.Listener, err = net.Listen("tcp", c.listen); err != nil {
		return fmt.Errorf("can't listen on %s: %w", c.listen, err)
	}
	defer s.Listener.Close() // the server does it, once there is one
	if c.adminListen != "" {
		if s.Admin, err = net.Listen("tcp", c.adminListen); err != nil {
			return fmt.Errorf("can't listen on %s for the admin: %w", c.adminListen, err)
		}
		defer s.Admin.Close()
	}
	// Last, so that a first start that failed is followed by another that says what to do.
	var first bool
	if g.Signer, first, err = auth.LoadOrCreateSigner(c.keyPath()); err != nil {
		return err
	}
	store, where, err := c.openStore(ctx, log)
	if err != nil {
		if strings.Contains(err.Error(), where) {
			return fmt.Errorf("can't open the store: %w", err)
		}
		return fmt.Errorf("can't open the store %s: %w", where, err)
	}
	defer func() {
		if cerr := store.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("the store %s: %w", where, cerr)
		}
	}()
	g.Store = store
	url, single := urlOf(s.Listener.Addr(), s.TLS != nil)
	if g.PublicURL == "" && single {
		g.PublicURL = url
	}
	s.Gateway = g
	server, err := gateway.NewServer(s)
	if err != nil {
		return err
	}
	c.greet(out, url, g.PublicURL, where, s.Admin, first)
	if err := server.Run(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// gatewayConfig is what the settings say of the gateway itself.
func (c *config) gatewayConfig(ca *x509.Certificate, log *slog.Logger) gateway.Config {
	g := gateway.Config{
		Name: c.name, PublicURL: strings.TrimRight(c.publicURL, "/"), LeaseTTL: c.leaseTTL,
		ReconnectHosts: c.reconnectHosts, ReconnectWindow: c.reconnectWindow, Log: log,
		Retention: queue.Retention{OutputAge: c.keepOutput, RecordAge: c.keepRecords,
			OutputBytes: int64(c.keepOutputBytes), RecordBytes: int64(c.keepRecordsBytes)},
	}
	g.Poll.Rate, g.Poll.MinInterval, g.Poll.Log = c.pollRate, c.pollInterval, log
	if g.Name == "" {
		machine, err := os.Hostname()
		if err != nil {
			machine = "gateway"
		}
		g.Name = machine + "-" + strings.ToLower(rand.Text()[:6])
	}
	if ca != nil {
		sum := sha256.Sum256(ca.Raw)
		g.CASHA256 = hex.EncodeToString(sum[:])
	}
	return g
}

// tls is nil if plain HTTP is spoken.
func (c *config) tls(ca *x509.Certificate, log *slog.Logger) (*tls.Config, error) {
	if c.tlsCert == "" {
		return nil, nil
	}
	return gateway.TLSFromFiles(c.tlsCert, c.tlsKey, ca, log)
}

// readCA reads the CA that hosts shall trust; nil if none is named.
func (c *config) readCA() (*x509.Certificate, error) {
	if c.tlsCA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.tlsCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("--tls-ca: %s holds no PEM certificate", c.tlsCA)
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %s: %w", c.tlsCA, err)
	}
	return ca, nil
}

// urlOf is the URL of an address; single is false if it stands for several.
func urlOf(addr net.Addr, tls bool) (url string, single bool) {
	scheme := "http"
	if tls {
		scheme = "https"
	}
	tcp, ok := addr.(*net.TCPAddr)
	return scheme + "://" + addr.String(), ok && !tcp.IP.IsUnspecified()
}

// greet tells whoever starts the gateway where it is and what to do next.
func (c *config) greet(out io.Writer, url, public, store string, admin net.Listener, first bool) {
	fmt.Fprintf(out, "rexgate %s listens on %s, with the store %s\n", program.Version(version), url, store)
	if public != "" {
		fmt.Fprintf(out, "people watch jobs in a browser at %s/\n", public)
	}
	if admin != nil {
		fmt.Fprintf(out, "metrics and pprof are on http://%s\n", admin.Addr())
	}
	if !first {
		return
	}
	flag := "--data-dir " + c.dataDir
	if c.operatorKey != "" {
		flag = "--operator-key " + c.operatorKey
	}
	fmt.Fprintf(out, "The key that signs operators' tokens was made: %s. Make yourself a token:\n  rexgate token operator %s --out ~/.config/rexctl/token\n", c.keyPath(), flag)
}
