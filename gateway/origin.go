package gateway

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// publicURL reads the setting; nil if it isn't set.
func publicURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	if err := ValidatePublicURL(text); err != nil {
		return nil, err
	}
	return url.Parse(text)
}

// secure tells whether the browser speaks TLS to the service, be it to a proxy in front.
func (g *Gateway) secure(r *http.Request) bool {
	return r.TLS != nil || g.public != nil && g.public.Scheme == "https"
}

// ownSite refuses a request that a browser sends with its cookie on behalf of another
// site (cross-site request forgery, cross-site WebSocket hijacking): what changes something, and WebSockets,
// which no policy of browsers keeps other sites from, need an Origin, and it must be ours.
// Where browsers tell whose request it is, that counts as well; but a link may lead here.
func (g *Gateway) ownSite(r *http.Request) error {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if (!reads || upgrades(r)) && r.Header.Get("Origin") == "" {
		return refused(codeForbidden, "with a cookie, %.20s needs the header Origin, which browsers send; programs send a token in Authorization", asked(r))
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		if !reads || upgrades(r) || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			return refused(codeForbidden, "a page of another site made this request, with the cookie of this one; nothing was done")
		}
	}
	return g.ownOrigin(r)
}

// ownOrigin refuses a request that says it comes from a page of another origin.
func (g *Gateway) ownOrigin(r *http.Request) error {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return nil
	}
	if len(values) == 1 {
		u, err := url.Parse(values[0])
		if err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && !g.secure(r)) {
			host := hostOf(u)
			if host == hostOf(&url.URL{Scheme: u.Scheme, Host: r.Host}) || g.public != nil && host == hostOf(g.public) {
				return nil
			}
		}
	}
	return refused(codeForbidden, "the request comes from a page of %.100q, not of this site; nothing was done. If that is this service's address, start it with that as --public-url", strings.Join(values, ", "))
}

// hostOf gives a URL's host with its port, in lower case.
func hostOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// upgrades tells whether a request asks for a WebSocket.
func upgrades(r *http.Request) bool {
	return strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Upgrade"), ",")), "websocket")
}

// asked names what a request wants, for messages.
func asked(r *http.Request) string {
	if upgrades(r) {
		return "a WebSocket"
	}
	return r.Method
}
