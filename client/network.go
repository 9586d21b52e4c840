package client

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Network says how to get to a gateway. The zero value is direct or through the
// environment's proxy, trusting the system's CAs.
type Network struct {
	// Proxy is the URL of an HTTP proxy for all gateways (http or https, with
	// credentials as user information), or "direct" for none; "" takes
	// HTTPS_PROXY, HTTP_PROXY and NO_PROXY from the environment.
	Proxy string
	// NoProxy lists what Proxy isn't for, in the form of NO_PROXY. Loopback
	// addresses never go through a proxy.
	NoProxy string
	// CAFile is a PEM file of CAs to trust besides the system's.
	CAFile string
	// CASHA256 pins a CA certificate: lower-case hex of the SHA-256 of its DER. A
	// gateway's chain must lead to it; it needs no other trust.
	CASHA256 string
	// TLS takes the place of CAFile and CASHA256, for links that share it; nil = those.
	TLS *tls.Config
	// Dial makes TCP connections; nil = the usual dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// endpoint is one gateway and the way to it.
type endpoint struct {
	url   string // without a slash at the end
	base  *url.URL
	proxy *url.URL // nil = direct
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	names bool // dial resolves names by this host's resolver
	// proxyTLS is for the connection to an https proxy.
	proxyTLS *tls.Config
	tls      *tls.Config
	// tunnelled goes through CONNECT if there is a proxy, for plain http too. plain uses
	// the proxy in the ordinary way, which more proxies allow.
	tunnelled *http.Client
	plain     *http.Client
}

func (n Network) endpoints(gateways []string) ([]*endpoint, error) {
	proxyFor, err := n.proxyFunc()
	if err != nil {
		return nil, err
	}
	base, proxyTLS, err := n.tlsConfigs()
	if err != nil {
		return nil, err
	}
	dial := n.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	eps := make([]*endpoint, 0, len(gateways))
	for _, g := range gateways {
		u, err := url.Parse(strings.TrimRight(g, "/"))
		if err != nil {
			return nil, fmt.Errorf("gateway %q: %w", g, err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return nil, fmt.Errorf("gateway %q: must be a URL such as https://rexgate.example.com", g)
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("gateway %q: must have no user, query or fragment", u.Redacted())
		}
		proxy, err := proxyFor(u)
		if err != nil {
			return nil, fmt.Errorf("gateway %q: its proxy: %w", g, err)
		}
		if proxy != nil && proxy.Scheme != "http" && proxy.Scheme != "https" {
			return nil, fmt.Errorf("proxy %q: only http and https proxies are supported", proxy.Redacted())
		}
		e := &endpoint{url: u.String(), base: u, proxy: proxy, dial: dial, names: n.Dial == nil, proxyTLS: proxyTLS, tls: base}
		e.tunnelled = e.client(e.connect, nil)
		e.plain = e.tunnelled
		if proxy != nil && u.Scheme == "http" {
			e.plain = e.client(e.dialProxyPlain, http.ProxyURL(proxy))
		}
		eps = append(eps, e)
	}
	return eps, nil
}

func (n Network) proxyFunc() (func(*url.URL) (*url.URL, error), error) {
	switch n.Proxy {
	case "direct":
		return func(*url.URL) (*url.URL, error) { return nil, nil }, nil
	case "":
		env := httpproxy.FromEnvironment()
		env.CGI = false
		return env.ProxyFunc(), nil
	}
	u, err := url.Parse(n.Proxy)
	if err != nil || u.Host == "" {
		// The error isn't shown: it would quote the credentials.
		return nil, errors.New("proxy: must be a URL such as http://user:password@proxy:3128, or direct")
	}
	cfg := httpproxy.Config{HTTPProxy: n.Proxy, HTTPSProxy: n.Proxy, NoProxy: n.NoProxy}
	return cfg.ProxyFunc(), nil
}

// tlsConfigs gives the configurations for gateways and for https proxies; the pin is
// for gateways only.
func (n Network) tlsConfigs() (gateway, proxy *tls.Config, err error) {
	if n.TLS != nil {
		return n.TLS, n.TLS, nil
	}
	var roots *x509.CertPool // nil = the system's
	if n.CAFile != "" {
		pem, err := os.ReadFile(n.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("CA file: %w", err)
		}
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("CA file %s: no certificate in PEM form in it", n.CAFile)
		}
	}
	proxy = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	gateway = proxy.Clone()
	gateway.ClientSessionCache = tls.NewLRUClientSessionCache(16)
	if n.CASHA256 != "" {
		pin, err := hex.DecodeString(n.CASHA256)
		if err != nil || len(pin) != sha256.Size {
			return nil, nil, fmt.Errorf("CA pin %q: must be the SHA-256 of a certificate, in hex", n.CASHA256)
		}
		// The chain is verified against the pinned certificate by VerifyConnection,
		// which also runs on resumption.
		gateway.InsecureSkipVerify = true
		gateway.VerifyConnection = func(cs tls.ConnectionState) error {
			_, err := verifyPin(cs, [sha256.Size]byte(pin), roots)
			return err
		}
	}
	return gateway, proxy, nil
}

// verifyPin verifies a chain that leads to the certificate with this SHA-256, and
// gives that certificate.
func verifyPin(cs tls.ConnectionState, pin [sha256.Size]byte, roots *x509.CertPool) (*x509.Certificate, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, errors.New("the gateway showed no certificate")
	}
	inter := x509.NewCertPool()
	var pinned *x509.Certificate
	for _, c := range cs.PeerCertificates {
		if sha256.Sum256(c.Raw) == pin {
			pinned = c
		}
		inter.AddCert(c)
	}
	opts := x509.VerifyOptions{DNSName: cs.ServerName, Intermediates: inter, Roots: roots}
	if pinned != nil {
		opts.Roots = x509.NewCertPool()
		opts.Roots.AddCert(pinned)
	}
	chains, err := cs.PeerCertificates[0].Verify(opts)
	if err != nil {
		if pinned == nil {
			return nil, fmt.Errorf("no certificate in the gateway's chain has the pinned SHA-256 (the gateway must send its CA's certificate too, or a CA file must hold it): %w", err)
		}
		return nil, err
	}
	for _, chain := range chains {
		for _, c := range chain {
			if sha256.Sum256(c.Raw) == pin {
				return c, nil
			}
		}
	}
	return nil, errors.New("the gateway's certificate is not from the pinned CA")
}

func (e *endpoint) client(dial func(context.Context, string, string) (net.Conn, error), proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dial,
			Proxy:                  proxy,
			TLSClientConfig:        e.tls,
			TLSHandshakeTimeout:    15 * time.Second,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		// A redirect would carry the token elsewhere; a gateway never sends one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (e *endpoint) closeIdle() {
	e.tunnelled.CloseIdleConnections()
	e.plain.CloseIdleConnections()
}

// dialProxyPlain is the dialer of a transport that speaks to the proxy itself.
func (e *endpoint) dialProxyPlain(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := e.dial(ctx, network, addr)
	if err != nil {
		return nil, &proxyError{err: err}
	}
	return conn, nil
}

// connect dials the gateway, through a tunnel if there is a proxy.
func (e *endpoint) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if e.proxy == nil {
		return e.dial(ctx, network, addr)
	}
	conn, err := e.dialProxy(ctx)
	if err != nil {
		return nil, &proxyError{err: err}
	}
	tunnel, err := e.tunnel(ctx, conn, addr)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return tunnel, nil
}

func (e *endpoint) dialProxy(ctx context.Context) (net.Conn, error) {
	port := e.proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[e.proxy.Scheme]
	}
	conn, err := e.dial(ctx, "tcp", net.JoinHostPort(e.proxy.Hostname(), port))
	if err != nil || e.proxy.Scheme != "https" {
		return conn, err
	}
	cfg := e.proxyTLS.Clone()
	cfg.ServerName = e.proxy.Hostname()
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tc, nil
}

// tunnel asks the proxy for a connection to addr.
func (e *endpoint) tunnel(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	var req strings.Builder
	fmt.Fprintf(&req, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rexagent\r\n", addr, addr)
	if u := e.proxy.User; u != nil {
		password, _ := u.Password()
		fmt.Fprintf(&req, "Proxy-Authorization: Basic %s\r\n", base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	req.WriteString("\r\n")
	_, err := io.WriteString(conn, req.String())
	var resp *http.Response
	br := bufio.NewReader(io.LimitReader(conn, 64<<10))
	if err == nil {
		resp, err = http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	}
	if !stop() {
		return nil, &proxyError{err: context.Cause(ctx)}
	}
	if err != nil {
		return nil, &proxyError{err: fmt.Errorf("CONNECT %s: %w", addr, err)}
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		return nil, &proxyError{status: resp.StatusCode, err: fmt.Errorf("CONNECT %s: %s", addr, resp.Status)}
	}
	if n := br.Buffered(); n > 0 {
		early, _ := br.Peek(n)
		return &prefixedConn{Conn: conn, r: io.MultiReader(strings.NewReader(string(early)), conn)}, nil
	}
	return conn, nil
}

// proxyError is a proxy that couldn't be reached, or refused a tunnel with a status.
type proxyError struct {
	status int // 0 = none
	err    error
}

func (e *proxyError) Error() string { return "proxy: " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// refuses tells whether the proxy doesn't make such tunnels at all; otherwise it
// couldn't reach the gateway, or wants other credentials.
func (e *proxyError) refuses() bool {
	switch e.status {
	case 0, http.StatusProxyAuthRequired, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

// prefixedConn is a connection whose first bytes were read already.
type prefixedConn struct {
	net.Conn
	r io.Reader
}

func (c *prefixedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
