package gateway

import (
	"net/http"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/limits"
)

// LoginCode makes a code that logs a browser in as an operator, once, within
// auth.CodeTTL, on this gateway. The login ends when o.Expires says.
func (g *Gateway) LoginCode(o auth.Operator) (code string, expires time.Time) {
	return g.codes.Make(o)
}

// login exchanges an operator's token or a code for a cookie.
func (g *Gateway) login(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := g.ownOrigin(r); err != nil {
		return err
	}
	var req api.LoginRequest
	if err := g.decode(w, r, maxLogin, false, &req); err != nil {
		return err
	}
	if (req.Token == "") == (req.Code == "") {
		return invalid("give one of token and code")
	}
	var o auth.Operator
	var err error
	how := "token"
	if req.Code != "" {
		how = "code"
		o, err = g.codes.Take(req.Code)
	} else {
		o, err = g.signer.VerifyOperator(req.Token)
	}
	if err != nil {
		return err
	}
	if err := g.admitEach(&route{class: limits.Login}, o.Subject); err != nil {
		return err
	}
	token, expires, err := g.signer.SignBrowser(o)
	if err != nil {
		return err
	}
	c := g.cookie(r, token)
	c.Expires, c.MaxAge = expires, int(time.Until(expires).Seconds())+1
	http.SetCookie(w, c)
	g.log.Info("operator logged in", "operator", o.Subject, "by", how, "expires", expires)
	return writeJSON(w, http.StatusOK, api.Login{Subject: o.Subject, Scopes: o.Scopes, Expires: expires.UTC()})
}

// maxLogin bounds the body of a login.
const maxLogin = auth.MaxToken + 1024

// logout takes the cookie away. What it held stays good until it expires, as all tokens do.
func (g *Gateway) logout(w http.ResponseWriter, r *http.Request, _ caller) error {
	if err := g.ownOrigin(r); err != nil {
		return err
	}
	c := g.cookie(r, "")
	c.MaxAge = -1
	http.SetCookie(w, c)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// whoAmI tells who is logged in.
func (g *Gateway) whoAmI(w http.ResponseWriter, _ *http.Request, c caller) error {
	o := *c.operator
	return writeJSON(w, http.StatusOK, api.Login{Subject: o.Subject, Scopes: o.Scopes, Expires: o.Expires.UTC()})
}

// cookieName is the name of this service's cookie. It tells the key, so that gateways
// with other keys on the same host (cookies don't know ports) leave each other alone. With
// the prefix, browsers take the cookie over TLS, from this very host, only.
func (g *Gateway) cookieName(r *http.Request) string {
	name := "rexgate-" + g.signer.KeyID()
	if g.secure(r) {
		return "__Host-" + name
	}
	return name
}

func (g *Gateway) cookie(r *http.Request, value string) *http.Cookie {
	return &http.Cookie{Name: g.cookieName(r), Value: value, Path: "/", HttpOnly: true, Secure: g.secure(r), SameSite: http.SameSiteLaxMode}
}
