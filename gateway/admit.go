package gateway

import (
	"net/http"

	"github.com/rexgate/rexgate/gateway/auth"
)

// caller is who asks.
type caller struct {
	operator *auth.Operator // the kinds of tokens that a route doesn't take are nil
	host     auth.Host
	grant    *auth.Grant
	token    string // of an enrolment
}

// admit finds out who asks and whether they may.
func (g *Gateway) admit(r *http.Request, rt *route) (c caller, err error) {
	if rt.class != "" {
		if ok, retry := g.gates[rt.class].Admit(); !ok {
			g.metrics.refusedClass(rt.class)
			return c, &refusal{code: codeOverloaded, retry: retry, detail: "this gateway takes no more requests of this kind now; come back at the time of Retry-After"}
		}
	}
	if rt.kind == "" {
		return c, nil
	}
	identity, err := g.identify(r, rt, &c)
	if err != nil {
		return c, err
	}
	if err := g.admitEach(rt, identity); err != nil {
		return c, err
	}
	if !rt.agent {
		err = parseQuery(r, rt.query).err
	}
	return c, err
}

// identify checks the caller's token or cookie, and what it may be used for.
func (g *Gateway) identify(r *http.Request, rt *route, c *caller) (identity string, err error) {
	if rt.kind == auth.KindOperator {
		operator, err := g.whoAsks(r)
		if err != nil {
			return "", err
		}
		c.operator = &operator
		return c.operator.Subject, c.operator.Require(rt.scopes...)
	}
	token, err := auth.Bearer(r.Header)
	if err != nil {
		return "", err
	}
	switch rt.kind {
	case auth.KindEnroll:
		c.token = token
		grant, err := g.signer.VerifyEnroll(token)
		c.grant = &grant
		return grant.ID, err
	default:
		c.host, err = g.hosts.Verify(r.Context(), token)
		return string(c.host.ID), err
	}
}

// whoAsks finds the operator: by the Authorization header if there is one, else by
// the cookie of a browser, which other sites can make it send, too.
func (g *Gateway) whoAsks(r *http.Request) (auth.Operator, error) {
	cookie, err := r.Cookie(g.cookieName(r))
	if len(r.Header.Values("Authorization")) > 0 || err != nil {
		token, err := auth.Bearer(r.Header)
		if err != nil {
			return auth.Operator{}, err
		}
		return g.signer.VerifyOperator(token)
	}
	if err := g.ownSite(r); err != nil {
		return auth.Operator{}, err
	}
	return g.signer.VerifyBrowser(cookie.Value)
}

// admitEach holds an identity to its limit in a class of requests.
func (g *Gateway) admitEach(rt *route, identity string) error {
	ok, retry := g.each[rt.class].Admit(identity)
	if ok {
		return nil
	}
	g.metrics.refusedEach(rt.class)
	return &refusal{code: codeRateLimited, retry: retry, detail: "too many requests of this kind by this identity; come back at the time of Retry-After"}
}
