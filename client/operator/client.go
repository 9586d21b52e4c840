package operator

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Options configures a Client.
type Options struct {
	// Server is the gateway's URL, such as https://gate.example or
	// https://gate.example:8443/prefix.
	Server string
	// Token gives the operator's bearer token; it is asked before every request, so
	// that a token may be renewed under a long watch. See TokenFile.
	Token func() (string, error)
	// CA holds PEM certificates to trust besides the system's.
	CA []byte
	// AllowPlainHTTP permits http:// to a server that isn't on loopback. The token
	// and all output then cross the network in clear.
	AllowPlainHTTP bool
	// RetryFor bounds how long a request is repeated; 0 = 15 s, negative = not at all.
	RetryFor time.Duration
	// Patience bounds how long Watch and CopyOutput go on without an answer from the server;
	// 0 = 10 min.
	Patience time.Duration
	// Silence is how long a followed output may be silent before its connection is
	// replaced, in case it is dead; 0 = 60 s.
	Silence time.Duration
	// UserAgent is sent with every request; "" = "rexgate-operator".
	UserAgent string
	// Transport replaces the HTTP transport, CA and proxies included; nil = one made
	// from these options, with proxies from the environment.
	Transport http.RoundTripper
}

// Client talks to one server. Make it with New.
type Client struct {
	base *url.URL
	opt  Options
	http *http.Client
}

// New makes a client. It doesn't connect. Errors name the option that is wrong.
func New(o Options) (*Client, error) {
	base, err := parseServer(o.Server, o.AllowPlainHTTP)
	if err != nil {
		return nil, err
	}
	if o.Token == nil {
		return nil, errors.New("token: none given; every request needs one")
	}
	if o.Transport == nil {
		if o.Transport, err = newTransport(o.CA); err != nil {
			return nil, err
		}
	}
	setDefault(&o.RetryFor, 15*time.Second)
	setDefault(&o.Patience, 10*time.Minute)
	setDefault(&o.Silence, time.Minute)
	if o.UserAgent == "" {
		o.UserAgent = "rexgate-operator"
	}
	return &Client{base: base, opt: o, http: &http.Client{
		Transport: o.Transport,
		// The API never redirects. What does is in its place (a login page of a
		// proxy), and must not get the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Server is the URL that the client talks to.
func (c *Client) Server() string { return c.base.String() }

// Close closes idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

func parseServer(server string, allowPlain bool) (*url.URL, error) {
	if server == "" {
		return nil, errors.New("server: no URL given")
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return nil, fmt.Errorf("server: %q is not a URL like https://gate.example: %w", server, err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("server: %q is not a URL like https://gate.example", server)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("server: %s has more than scheme, host and path; give the token as a file", u.Redacted())
	case u.Scheme == "http" && !allowPlain && !loopback(u.Hostname()):
		return nil, fmt.Errorf("server: %s would carry the token in clear; use https://, or allow plain HTTP expressly", server)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func newTransport(ca []byte) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("ca: no PEM certificate in it")
		}
		conf.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     conf,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Two streams for each host that is followed share these.
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     60 * time.Second,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 20 * time.Second, PingTimeout: 15 * time.Second},
	}, nil
}

// TokenFile gives a Token that reads the file anew for every request, so that a renewed
// token is taken up at once.
func TokenFile(path string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
		token := strings.TrimSpace(string(b))
		if token == "" {
			return "", fmt.Errorf("token: %s is empty", path)
		}
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return "", fmt.Errorf("token: %s holds more than one token", path)
		}
		return token, nil
	}
}

// StaticToken gives a Token that never changes.
func StaticToken(token string) func() (string, error) {
	return func() (string, error) { return token, nil }
}
