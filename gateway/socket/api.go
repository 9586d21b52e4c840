// Package socket is being written: these are the signatures that others call.
package socket

import (
	"net/http"
	"time"

	"github.com/rexgate/rexgate/session"
)

// Options sets Accept up. Zero values are the defaults.
type Options struct {
	WriteTimeout time.Duration // a frame must be written within; default 20 s
}

// Accept upgrades a request to a WebSocket and attaches it to the hub. It
// returns after the upgrade, or after it has answered with an error: then the
// error says why, for the log.
func Accept(w http.ResponseWriter, r *http.Request, hub *session.Hub, peer session.Peer, opts Options) error {
	panic("being written")
}
