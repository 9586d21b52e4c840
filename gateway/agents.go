package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/rexgate/rexgate/gateway/socket"
	"github.com/rexgate/rexgate/session"
)

// decodeLoose reads an agent's JSON: it may be newer and say more than is
// known here.
func decodeLoose(body []byte, out any) error {
	if err := json.Unmarshal(body, out); err != nil {
		return jsonError(body, out, err)
	}
	return nil
}

func (c caller) peer() session.Peer {
	return session.Peer{Host: c.host.ID, Incarnation: c.host.Incarnation, Expires: c.host.Expires}
}

func (g *Gateway) agentSocket(w http.ResponseWriter, r *http.Request, c caller) error {
	if g.hub.Draining() { // cheaper here than after the upgrade
		return &refusal{code: codeDraining, retry: g.hub.ComeBack(), detail: session.ErrDraining.Error()}
	}
	peer := c.peer()
	// A socket outlives the token that opened it: it is closed when the host is
	// revoked, and reconnecting a fleet every few minutes would prove nothing more.
	peer.Expires = time.Time{}
	if err := socket.Accept(w, r, g.hub, peer, g.config.Socket); err != nil {
		g.metrics.upgradeFailed()
		g.log.Debug("an upgrade failed", "host", peer.Host, "err", err)
	}
	return nil
}

func (g *Gateway) agentPoll(w http.ResponseWriter, r *http.Request, c caller) error {
	g.polls.ServePoll(w, r, c.peer())
	return nil
}

func (g *Gateway) agentMessages(w http.ResponseWriter, r *http.Request, c caller) error {
	g.polls.ServeMessages(w, r, c.peer())
	return nil
}

func (g *Gateway) agentScript(w http.ResponseWriter, r *http.Request, c caller) error {
	g.polls.ServeScript(w, r, c.peer())
	return nil
}
