// Package session is being written: these are the signatures that others call.
package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Store is what sessions need of a queue.Store, which is one.
type Store interface {
	queue.Sessions
	queue.Hints
	Lookup
}

// Lookup reads what a delivery needs.
type Lookup interface {
	Job(ctx context.Context, id queue.JobID) (queue.JobStatus, error)
	Script(ctx context.Context, id queue.JobID) ([]byte, error)
	Execution(ctx context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error)
	Host(ctx context.Context, id queue.HostID) (queue.Host, error)
}

// Peer is an authenticated host.
type Peer struct {
	Host        queue.HostID
	Incarnation int64
	// Expires ends the attachment of a socket (close code CloseExpired); zero =
	// it outlives its token.
	Expires time.Time
}

// Config sets a Hub up. Zero values are the defaults.
type Config struct {
	Gateway  string // this gateway's name in the store; unique among those that live
	LeaseTTL time.Duration
	// Recorded is called after each record, for live views. It must not block.
	Recorded func(queue.HostID, []queue.Ack)
	Log      *slog.Logger
}

// Stats are a hub's figures, for metrics.
type Stats struct{}

// Hub holds the sessions of one gateway.
type Hub struct{}

// NewHub makes a hub; Run makes it work.
func NewHub(store Store, cfg Config) *Hub { panic("being written") }

// Run returns when ctx has ended and all that it started has.
func (h *Hub) Run(ctx context.Context) error { panic("being written") }

// Drain tells the sessions to come back, spread over within, and returns when
// the last has gone or ctx ends.
func (h *Hub) Drain(ctx context.Context, within time.Duration) { panic("being written") }

// Kick closes a host's connections and ends its held polls.
func (h *Hub) Kick(host queue.HostID, code wire.CloseCode, reason string) { panic("being written") }

// Stats gives the figures of now.
func (h *Hub) Stats() Stats { panic("being written") }
