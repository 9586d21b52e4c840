package client

import (
	"fmt"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// fault says what the end of a connection, or of an attempt, means for the
// choice of transport and gateway.
//
//	fault        | what it was                                      | what follows
//	none         | ended by us                                      | -
//	unreachable  | no connection: name, refused, TLS, no answer     | backoff, next gateway
//	refused      | 401, 403, 429, 503                               | Retry-After, next gateway
//	asked        | drain, or a close code that says come back       | what it says, else backoff
//	cut          | an established connection broke                  | backoff; often: the poll
//	half         | cut after the upgrade was asked for, no answer    | backoff, next gateway; again: the poll
//	socketBroken | the socket can't work on this way                | the poll, at once
//	terminal     | revoked, a terminal close code, the peer failed  | Run returns
type fault int

const (
	faultNone fault = iota
	faultUnreachable
	faultRefused
	faultAsked
	faultCut
	faultHalf
	faultSocketBroken
	faultTerminal
)

func (f fault) String() string {
	return [...]string{"none", "unreachable", "refused", "asked", "cut", "half a handshake", "socket broken", "terminal"}[f]
}

// outcome is how a connection, or an attempt, ended.
type outcome struct {
	fault fault
	// retry is what the gateway asked for; -1 = it didn't say.
	retry time.Duration
	// slow: nothing will change soon (401, 403): keep to the cap.
	slow bool
	// stay: come back to the same gateway rather than the next.
	stay bool
	err  error
}

// failed makes an outcome without a wish of the gateway.
func failed(f fault, err error) outcome { return outcome{fault: f, retry: -1, err: err} }

func (o outcome) text() string {
	if o.err == nil {
		return o.fault.String()
	}
	return o.err.Error()
}

// TerminalError ends Run: the gateway said that this agent must not come back by
// itself.
type TerminalError struct {
	Code   wire.CloseCode
	Reason string
}

func (e *TerminalError) Error() string {
	what := map[wire.CloseCode]string{
		wire.CloseMalformed: "the gateway couldn't read a message of this agent",
		wire.CloseForbidden: "the gateway refuses what this agent sent",
		wire.CloseRevoked:   "this host was revoked; an operator must enrol it anew",
		wire.CloseVersion:   "the gateway speaks no version of the protocol that this agent knows",
	}[e.Code]
	if what == "" {
		what = "the gateway said not to come back"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s (code %d)", what, e.Code)
	}
	return fmt.Sprintf("%s (code %d: %s)", what, e.Code, e.Reason)
}

// closeOutcome reads a WebSocket close code.
func closeOutcome(code wire.CloseCode, reason string) outcome {
	retry, text := wire.ParseCloseReason(reason)
	if retry == 0 {
		retry = -1
	}
	retry = min(retry, maxRetryAfter)
	switch {
	case code.Terminal():
		return failed(faultTerminal, &TerminalError{Code: code, Reason: text})
	case code.ComeBack():
		err := fmt.Errorf("closed by the gateway: %d %s", code, text)
		o := outcome{fault: faultAsked, retry: retry, err: err}
		switch code {
		case wire.CloseExpired, wire.CloseHello, wire.CloseSlow:
			o.stay = true
		case wire.CloseDuplicate:
			o.slow = true
		}
		return o
	}
	switch code {
	case 1000, 1001, 1012, 1013: // normal, going away, restart, try again later
		return failed(faultAsked, fmt.Errorf("closed by the other side: %d %s", code, reason))
	}
	return failed(faultCut, fmt.Errorf("closed with %d %s", code, reason))
}
