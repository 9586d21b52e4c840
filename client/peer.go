package client

import (
	"context"

	"github.com/rexgate/rexgate/session/wire"
)

// Peer is what a link carries messages for: the agent. The link calls it from
// one goroutine at a time per method.
type Peer interface {
	// Hello composes a fresh hello: what is in hand now. Standby is set by the link.
	Hello() wire.Hello

	// Deliver hands over a message from the gateway, in order: first the
	// Welcome of each session, which also rewinds what Pull gives to what is stored. It must not block on the network;
	// it may write to disk. A message may come again. Only welcome, job, cancel and ack are
	// handed over; the link sees to the rest.
	Deliver(m wire.Message)

	// Pull gives the next events to send, in order per execution, blocking
	// until there are some or ctx ends. credit is how many bytes (wire.EventSize)
	// they may take; a first event is given whatever its size if first is set (nothing is on the way). Given
	// events count as on the way until an ack stores them, or the next Welcome rewinds.
	Pull(ctx context.Context, credit int64, first bool) ([]wire.Event, error)

	// Unacked is how many bytes of events were given by Pull since the last Welcome and are not
	// acknowledged.
	Unacked() int64

	// Busy tells whether executions are in hand, each until its last event is
	// acknowledged: a run for once goes on that long.
	Busy() bool
}

// Identity is who the host is to a gateway.
type Identity interface {
	// Token gives a bearer token that is valid now; it signs a new one when due.
	Token() (string, error)
	// Learn tells the gateway's time, as Unix milliseconds, as just received.
	Learn(gatewayTime int64)
}
