package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// TokenWay reads where an enrolment token leads to: the gateway's URL, and the SHA-256 of the
// CA that it pins, in hex ("" = none). Only the gateway can check the token's signature.
func TokenWay(token string) (gateway, caSHA256 string, err error) {
	claims, err := readEnrollToken(token)
	return claims.URL, claims.CASHA256, err
}

// DiagnoseWay tries the way to each gateway as far as it goes without a host's token: for
// a host that isn't enrolled yet. That a gateway answers is the check "gateway". For the rest
// it is as Diagnose.
func DiagnoseWay(ctx context.Context, gateways []string, network Network) ([]Check, error) {
	if len(gateways) == 0 {
		return nil, errors.New("no gateway URL")
	}
	eps, err := network.endpoints(gateways)
	if err != nil {
		return nil, err
	}
	var checks []Check
	for _, ep := range eps {
		checks = append(checks, (&doctor{t: Timing{}.withDefaults(), ep: ep}).run(ctx)...)
	}
	return checks, nil
}

// answers tries a request without a token, which a gateway refuses with a problem document.
func (d *doctor) answers(ctx context.Context) {
	rctx, cancel := context.WithTimeout(ctx, d.t.Request)
	defer cancel()
	start := time.Now()
	a, err := send(rctx, d.ep, "", http.MethodGet, wire.PathPoll+"?session=0&after=0&wait=0s", nil)
	took := time.Since(start)
	if err == nil && a.problem != nil {
		d.check("clock", func() (string, string, error) { return clock(a, took, time.Now()) })
	}
	d.check("gateway", func() (string, string, error) {
		switch {
		case err != nil:
			return "", adviceNoAnswer, err
		case a.problem != nil:
			return fmt.Sprintf("a gateway answers, after %v", took.Round(time.Millisecond)), "", nil
		case a.status == http.StatusProxyAuthRequired:
			return "", adviceCredentials, a.err()
		}
		return "", adviceNoGateway, a.err()
	})
}
