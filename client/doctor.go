package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/session/wire"
)

// Check is one thing that Diagnose tried.
type Check struct {
	Gateway string        `json:"gateway"`
	Name    string        `json:"name"` // name, tcp, proxy, tls, clock, token, poll, socket, ping; gateway
	OK      bool          `json:"ok"`
	Detail  string        `json:"detail"`           // what was found
	Advice  string        `json:"advice,omitempty"` // what to do if it failed
	Took    time.Duration `json:"took"`
}

// skew is how far this host's clock may be off before Diagnose speaks of it.
const skew = 30 * time.Second

const (
	adviceCredentials = "put the proxy's user and password into its URL: http://user:password@host:port"
	adviceNoAnswer    = "the connection is there, but a request got no answer: look into the gateway's log, or at what stands before it"
	adviceNoGateway   = "something else than a gateway answers at this URL: check it, and what stands on the way"
)

// Diagnose tries each step of the way to each gateway, and blocks until it has, at most a minute for each.
// It begins no session: an agent that runs meanwhile isn't disturbed. What needs a failed step
// is left out. The error is of the configuration.
func Diagnose(ctx context.Context, cfg Config) ([]Check, error) {
	l, err := NewLink(cfg)
	if err != nil {
		return nil, err
	}
	var checks []Check
	for _, ep := range l.endpoints {
		checks = append(checks, (&doctor{t: l.cfg.Timing, ep: ep, l: l}).run(ctx)...)
	}
	return checks, nil
}

// doctor is for one gateway.
type doctor struct {
	t      Timing
	ep     *endpoint
	l      *Link // nil = without a host's token
	checks []Check
}

func (d *doctor) run(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer d.ep.closeIdle()
	switch {
	case !d.reach(ctx):
	case d.l == nil:
		d.answers(ctx)
	default:
		d.requests(ctx)
		d.socket(ctx)
	}
	return d.checks
}

// check runs f, and notes its result; f gives what was found, or an error and advice.
func (d *doctor) check(name string, f func() (detail, advice string, err error)) bool {
	start := time.Now()
	detail, advice, err := f()
	c := Check{Gateway: d.ep.url, Name: name, OK: err == nil, Detail: detail, Took: time.Since(start)}
	if err != nil {
		c.Detail, c.Advice = err.Error(), advice
	}
	d.checks = append(d.checks, c)
	return c.OK
}

// reach goes from the name to TLS.
func (d *doctor) reach(ctx context.Context) bool {
	ep := d.ep
	host, port := ep.base.Hostname(), ep.base.Port()
	what := "the gateway"
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[ep.base.Scheme]
	}
	target := net.JoinHostPort(host, port)
	if ep.proxy != nil {
		host, what = ep.proxy.Hostname(), "the proxy "+ep.proxy.Redacted()
	}
	if net.ParseIP(host) == nil && ep.names {
		ok := d.check("name", func() (string, string, error) {
			addrs, err := net.DefaultResolver.LookupHost(ctx, host)
			return host + " is " + strings.Join(addrs, ", "), "check the name of " + what + " and this host's resolver (/etc/resolv.conf)", err
		})
		if !ok {
			return false
		}
	}
	dctx, cancel := context.WithTimeout(ctx, d.t.Handshake)
	defer cancel()
	var conn net.Conn
	if ep.proxy == nil {
		d.check("tcp", func() (_, _ string, err error) {
			conn, err = ep.dial(dctx, "tcp", target)
			return "connected to " + target, "a firewall may block the way, or the gateway is down; if a proxy must be used, set HTTPS_PROXY", err
		})
	} else {
		d.check("tcp", func() (_, _ string, err error) {
			conn, err = d.ep.dialProxy(dctx)
			return "connected to " + what, "check the proxy's address, and that this host may use it", err
		})
		conn = d.proxy(dctx, conn, target)
	}
	if conn == nil {
		// A proxy that makes no tunnels may still carry polls over plain http.
		return len(d.checks) > 0 && d.checks[len(d.checks)-1].Name == "proxy" && ep.base.Scheme == "http"
	}
	defer conn.Close()
	if ep.base.Scheme != "https" {
		return true
	}
	return d.check("tls", func() (string, string, error) {
		cfg := ep.tls.Clone()
		cfg.ServerName = ep.base.Hostname()
		tc := tls.Client(conn, cfg)
		if err := tc.HandshakeContext(dctx); err != nil {
			return "", "if the gateway's certificate comes from a private CA, or a proxy inspects TLS, give that CA in a CA file; check the name in the URL", err
		}
		cs := tc.ConnectionState()
		leaf := cs.PeerCertificates[0]
		return fmt.Sprintf("%s, certificate of %s from %s until %s", tls.VersionName(cs.Version), leaf.Subject.CommonName, leaf.Issuer.CommonName, leaf.NotAfter.Format(time.DateOnly)), "", nil
	})
}

// proxy tries a tunnel. It gives nil if there is none.
func (d *doctor) proxy(ctx context.Context, conn net.Conn, target string) (tunnel net.Conn) {
	if conn == nil {
		return nil
	}
	d.check("proxy", func() (_, _ string, err error) {
		tunnel, err = d.ep.tunnel(ctx, conn, target)
		if err == nil {
			return "the proxy connects to " + target, "", nil
		}
		conn.Close()
		tunnel = nil
		var pe *proxyError
		errors.As(err, &pe)
		advice := "the proxy can't reach the gateway: ask who runs the proxy"
		switch {
		case pe.status == http.StatusProxyAuthRequired:
			advice = adviceCredentials
		case pe.refuses() && d.ep.base.Scheme == "http":
			advice = "the proxy allows no CONNECT to this port, so that no socket can be kept; the poll may work. Use https on port 443, or ask who runs the proxy to allow CONNECT"
		case pe.refuses():
			advice = "the proxy allows no CONNECT to this host and port: ask who runs the proxy; usually port 443 is allowed"
		}
		return "", advice, err
	})
	return tunnel
}

// requests tries what the poll needs: a poll of no session, which a gateway answers with 409 once it has
// accepted the token.
func (d *doctor) requests(ctx context.Context) {
	rctx, cancel := context.WithTimeout(ctx, d.t.Request)
	defer cancel()
	path := wire.PathPoll + "?session=0&after=0&wait=0s"
	start := time.Now()
	token, err := d.l.cfg.Identity.Token()
	var a answer
	if err == nil {
		a, err = send(rctx, d.ep, token, http.MethodGet, path, nil)
	}
	if err != nil {
		d.check("poll", func() (string, string, error) {
			return "", adviceNoAnswer, err
		})
		return
	}
	took := time.Since(start)
	if a.problem != nil { // it is a gateway that answers
		d.check("clock", func() (string, string, error) { return clock(a, took, time.Now()) })
	}
	if a.status == http.StatusUnauthorized && learnTime(d.l.cfg.Identity, a.header, a.problem) {
		if again, err := exchangeOnce(rctx, d.ep, d.l.cfg.Identity, http.MethodGet, path, nil); err == nil {
			a = again
		}
	}
	accepted := a.status != http.StatusUnauthorized && a.status != http.StatusForbidden
	if a.problem != nil {
		d.check("token", func() (string, string, error) {
			switch {
			case barred(a.status, a.problem):
				return "", "an operator has revoked this host, and must enrol it anew", a.err()
			case !accepted:
				return "", "this host's key isn't (or no longer) known there: an operator can see and enrol it anew", a.err()
			}
			return "the gateway accepts this host's token", "", nil
		})
	}
	d.check("poll", func() (string, string, error) {
		switch {
		case a.problem != nil && (a.status == http.StatusConflict || a.status == http.StatusBadRequest || a.status == http.StatusNotFound):
			return fmt.Sprintf("a request and its answer took %v", took.Round(time.Millisecond)), "", nil
		case a.problem != nil && !accepted:
			return "", "see the token: nothing stands in the poll's way otherwise", errors.New("requests arrive, but not with this token")
		case a.retry >= 0 && (a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable):
			return "", fmt.Sprintf("the gateway asks to come back in %v", a.retry), a.err()
		}
		if a.status == http.StatusProxyAuthRequired {
			return "", adviceCredentials, a.err()
		}
		return "", adviceNoGateway, a.err()
	})
}

// clock compares this host's clock with the gateway's.
func clock(a answer, took time.Duration, now time.Time) (detail, advice string, err error) {
	date, perr := http.ParseTime(a.header.Get("Date"))
	if perr != nil {
		return "", "the answer has no date; something on the way has taken it out", errors.New("the gateway's time isn't known")
	}
	// The header has whole seconds, and the answer was on its way.
	off := now.Add(-took / 2).Sub(date.Add(500 * time.Millisecond)).Round(time.Second)
	if off.Abs() <= skew {
		return fmt.Sprintf("this host's clock is right to about a second (%+d s)", int(off.Seconds())), "", nil
	}
	return "", "jobs run all the same, for the agent learns the gateway's time; but set this host's clock (NTP)", fmt.Errorf("this host's clock is off by %v", off)
}

// socket tries an upgrade and a ping, without a hello.
func (d *doctor) socket(ctx context.Context) {
	var conn *websocket.Conn
	ok := d.check("socket", func() (string, string, error) {
		c, o := d.l.dialSocket(ctx, d.ep)
		conn = c
		if c != nil {
			return "upgraded to " + c.Subprotocol(), "", nil
		}
		if o.err == nil {
			o.err = context.Cause(ctx)
		}
		advice := "no gateway can be reached for it now"
		switch o.fault {
		case faultSocketBroken, faultHalf:
			advice = "something on the way lets no WebSocket pass; the agent polls instead. Jobs arrive, only later: ask who runs the proxy to allow WebSockets"
		case faultRefused, faultTerminal:
			advice = "the gateway refuses it for now, or this host's token: see there"
		}
		return "", advice, o.err
	})
	if !ok {
		return
	}
	defer conn.CloseNow()
	d.check("ping", func() (string, string, error) {
		rctx, cancel := context.WithCancel(ctx)
		defer cancel()
		conn.CloseRead(rctx) // reads the pong; it has ended when CloseNow returns
		pctx, stop := context.WithTimeout(ctx, d.t.Welcome)
		defer stop()
		start := time.Now()
		if err := conn.Ping(pctx); err != nil {
			return "", "something on the way upgrades, but doesn't let frames pass; the agent polls instead", err
		}
		return fmt.Sprintf("a ping came back after %v", time.Since(start).Round(10*time.Microsecond)), "", nil
	})
}
