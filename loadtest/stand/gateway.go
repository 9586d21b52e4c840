package stand

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// sqliteFile is the name that a gateway gives its store in the data directory.
const sqliteFile = "rexgate.db"

// serveArgs are the arguments that all gateways have in common.
func (s *Stand) serveArgs() ([]string, error) {
	args := []string{"serve", "--data-dir", s.dataDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--log-level", "warn", "--drain-time", "5s"}
	if s.Redis != "" {
		args = append(args, "--redis", "redis://"+s.Redis+"/0")
	}
	if s.config.TLS {
		f, err := makeCertificates(s.Dir)
		if err != nil {
			return nil, err
		}
		s.CA = f.ca
		args = append(args, "--tls-cert", f.cert, "--tls-key", f.key, "--tls-ca", f.ca)
	}
	return append(args, s.config.Args...), nil
}

// What a gateway says at its start.
var (
	greeting      = regexp.MustCompile(`(?m)^rexgate (\S+) listens on (https?://\S+), with the store `)
	adminGreeting = regexp.MustCompile(`(?m)^metrics and pprof are on (http://\S+)$`)
)

// startGateway starts a gateway and waits until it is ready.
func (s *Stand) startGateway(ctx context.Context, i int, args []string) error {
	args = append(args[:len(args):len(args)], "--name", fmt.Sprintf("gateway-%d", i+1))
	g, err := startChild(fmt.Sprintf("gateway %d", i+1), s.config.Rexgate, args...)
	if err != nil {
		return err
	}
	s.gateways = append(s.gateways, g)
	said, err := g.await(ctx, greeting)
	if err != nil {
		return err
	}
	admin, err := g.await(ctx, adminGreeting)
	if err != nil {
		return err
	}
	s.version = said[1]
	s.URLs, s.AdminURLs = append(s.URLs, said[2]), append(s.AdminURLs, admin[1])
	if err := s.awaitReady(ctx, g, said[2]); err != nil {
		return err
	}
	s.watch(g)
	return nil
}

// awaitReady asks a gateway until it says that it is ready.
func (s *Stand) awaitReady(ctx context.Context, g *child, url string) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := get(ctx, client, url+"/readyz", io.Discard)
		if err == nil {
			return nil
		}
		select {
		case <-g.done:
			return g.failure("ended at its start")
		case <-ctx.Done():
			return fmt.Errorf("%s isn't ready: %w (%w); it wrote:\n%s", g.name, context.Cause(ctx), err, g.err)
		case <-tick.C:
		}
	}
}

// client speaks to the gateways of this stand, without a proxy.
func (s *Stand) client() (*http.Client, error) {
	t := &http.Transport{}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", s.CA)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{Transport: t}, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// get fetches a URL with status 200.
func get(ctx context.Context, client *http.Client, url string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	_, err = io.Copy(to, io.LimitReader(resp.Body, maxAnswer))
	return err
}

// makeToken has the program make an operator's token with the gateways' key.
func (s *Stand) makeToken(ctx context.Context) error {
	file := filepath.Join(s.Dir, "token")
	cmd := exec.CommandContext(ctx, s.config.Rexgate, "token", "operator", "--data-dir", s.dataDir(),
		"--subject", "loadtest", "--ttl", "24h", "--out", file)
	cmd.Env = cleanEnv(os.Environ())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("an operator's token: %w: %s", err, out)
	}
	s.Token = file
	return nil
}

// describeSQLite reads the driver's version from the program, and what the store's file says of itself.
func describeSQLite(rexgate, file string) (version string, settings []string, err error) {
	info, err := buildinfo.ReadFile(rexgate)
	if err != nil {
		return "", nil, err
	}
	for _, m := range info.Deps {
		if strings.HasSuffix(m.Path, "/sqlite") {
			version = strings.TrimSpace(version + " " + m.Path + " " + m.Version)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return version, nil, err
	}
	defer f.Close()
	// https://www.sqlite.org/fileformat.html: 16-byte magic, page size, write version, read version.
	var head [20]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return version, nil, err
	}
	if string(head[:15]) != "SQLite format 3" {
		return version, nil, errors.New(file + " is no SQLite file")
	}
	mode := "rollback"
	if head[18] == 2 {
		mode = "wal"
	}
	page := int(head[16])<<8 | int(head[17])
	if page == 1 {
		page = 64 << 10
	}
	return version, []string{"journal_mode=" + mode, fmt.Sprintf("page_size=%d", page)}, nil
}
