package gateway

import (
	"net/http"
	"net/url"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func (g *Gateway) enrollToken(w http.ResponseWriter, r *http.Request, c caller) error {
	var req api.EnrollTokenRequest
	if err := g.decode(w, r, maxBody, true, &req); err != nil {
		return err
	}
	grant := auth.Grant{URL: req.URL, CASHA256: g.config.CASHA256, Hosts: req.Hosts, Labels: req.Labels, Replace: req.Replace}
	switch {
	case req.Uses == 0:
		grant.Uses = 1
	case req.Uses == -1: // no bound
	case req.Uses > 0:
		grant.Uses = req.Uses
	default:
		return invalid("uses: %d is neither a number of hosts nor -1 for any number", req.Uses)
	}
	if grant.URL == "" {
		grant.URL = g.config.PublicURL
	}
	if grant.URL == "" {
		return invalid("url: this gateway doesn't know how hosts reach it; give url, or start it with --public-url")
	}
	if err := ValidatePublicURL(grant.URL); err != nil {
		return invalid("url: %w", err)
	}
	ttl := time.Duration(req.TTL)
	if ttl == 0 {
		ttl = auth.DefaultEnrollTTL
	}
	token, grant, err := g.signer.SignEnroll(grant, ttl)
	if err != nil {
		return err
	}
	g.log.Info("enrolment token made", "operator", c.operator.Subject, "token", grant.ID, "hosts", grant.Hosts, "uses", grant.Uses, "replace", grant.Replace, "expires", grant.Expires)
	return writeJSON(w, http.StatusCreated, api.EnrollToken{Token: token, Expires: grant.Expires.UTC()})
}

// ValidatePublicURL tells what is wrong with the URL under which hosts reach the
// service.
func ValidatePublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(text) > 500 {
		return queue.Errorf(queue.Invalid, "%.100q is not a URL like https://gate.example", text)
	}
	return nil
}

func (g *Gateway) enroll(w http.ResponseWriter, r *http.Request, c caller) error {
	var req wire.EnrollRequest
	body, err := g.readBody(w, r, maxBody)
	if err != nil {
		return err
	}
	if err := decodeLoose(body, &req); err != nil {
		return err
	}
	e, err := c.grant.Admit(c.token, req)
	if err != nil {
		return err
	}
	before, err := g.store.Host(r.Context(), e.Host)
	if err != nil && queue.CodeOf(err) != queue.NotFound {
		return err
	}
	host, err := g.store.Enroll(r.Context(), e)
	if err != nil {
		return err
	}
	if host.Incarnation != before.Incarnation {
		g.hosts.Forget(host.ID)
		if before.Incarnation > 0 {
			g.hub.Kick(host.ID, wire.CloseExpired, "the host was enrolled anew")
		}
		g.log.Info("host enrolled", "host", host.ID, "token", c.grant.ID, "incarnation", host.Incarnation)
	}
	return writeJSON(w, http.StatusOK, wire.EnrollAnswer{
		Host: string(host.ID), Incarnation: host.Incarnation, Labels: host.Labels, Time: time.Now().UnixMilli(),
	})
}
