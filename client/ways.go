package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/rexgate/rexgate/session/wire"
)

// Ways are the ways to some gateways, made once for several links of one process: their
// connections that idle are shared, and their TLS sessions. It is safe for concurrent use.
type Ways struct{ endpoints []*endpoint }

// NewWays checks the gateways' URLs and what the network needs. It does no network I/O.
func NewWays(gateways []string, n Network) (*Ways, error) {
	if len(gateways) == 0 {
		return nil, errors.New("no gateway URL")
	}
	eps, err := n.endpoints(gateways)
	if err != nil {
		return nil, err
	}
	return &Ways{eps}, nil
}

// CloseIdle closes the connections that idle.
func (w *Ways) CloseIdle() {
	for _, e := range w.endpoints {
		e.closeIdle()
	}
}

// Register enrols a host under a key that is kept elsewhere, with the first of the gateways;
// nothing is written. For the rest it is as Enroll.
func Register(ctx context.Context, w *Ways, token, host string, key ed25519.PrivateKey) (wire.EnrollAnswer, error) {
	if _, err := readEnrollToken(token); err != nil {
		return wire.EnrollAnswer{}, err
	}
	answer, err := enroll(ctx, w.endpoints[0], token, host, key)
	if err != nil {
		return answer, fmt.Errorf("host %s: %w", host, err)
	}
	return answer, nil
}
