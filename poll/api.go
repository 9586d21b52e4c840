// Package poll is being written: these are the signatures that others call.
package poll

import (
	"net/http"
	"time"

	"github.com/rexgate/rexgate/session"
)

// Config sets a Server up. Zero values are the defaults of the design.
type Config struct {
	Rate        float64       // polls a second; default 2000
	MinInterval time.Duration // between two polls of a host; default 15 s
	MaxInterval time.Duration // default 5 min; the rate wins over it
	Held        int           // polls held at once; default 4096
	MaxWait     time.Duration // default 50 s
}

// Stats are a server's figures, for metrics.
type Stats struct {
	Held    int           // polls held now
	LastDue time.Duration // the last polling host is due in
}

// Server serves polls.
type Server struct{}

// NewServer makes a server on a hub, which must be running.
func NewServer(hub *session.Hub, cfg Config) *Server { panic("being written") }

// ServePoll answers GET wire.PathPoll.
func (s *Server) ServePoll(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	panic("being written")
}

// ServeMessages answers POST wire.PathMessages.
func (s *Server) ServeMessages(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	panic("being written")
}

// ServeScript answers GET wire.PathScript + execution id.
func (s *Server) ServeScript(w http.ResponseWriter, r *http.Request, peer session.Peer) {
	panic("being written")
}

// Stats gives the figures of now.
func (s *Server) Stats() Stats { panic("being written") }
