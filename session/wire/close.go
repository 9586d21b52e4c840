package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// CloseCode is a WebSocket close code. 4000 to 4499: come back, after the
// time that the reason gives, or by the usual backoff. 4500 to 4999: terminal,
// this agent must not come back by itself. An agent obeys codes of these
// ranges that it doesn't know.
type CloseCode int

// The codes.
const (
	CloseDrain       CloseCode = 4000 // the gateway is going
	CloseSuperseded  CloseCode = 4001 // a newer connection of this host has taken over
	CloseSlow        CloseCode = 4002 // didn't read, or sent beyond its credit: resume
	CloseOverload    CloseCode = 4003
	CloseUnavailable CloseCode = 4004 // the store is away and this session can't wait for it
	CloseSilent      CloseCode = 4005
	CloseExpired     CloseCode = 4006 // the token expired: come back with a fresh one
	CloseDuplicate   CloseCode = 4007 // two machines with one identity; come back later
	CloseHello       CloseCode = 4008 // the session isn't known (any more): say hello

	CloseMalformed CloseCode = 4500 // the message made no sense
	CloseForbidden CloseCode = 4501 // an event for another host's execution, or such
	CloseRevoked   CloseCode = 4502
	CloseVersion   CloseCode = 4503 // no common protocol version
)

// Terminal tells whether the agent must stay away.
func (c CloseCode) Terminal() bool { return c >= 4500 && c <= 4999 }

// ComeBack tells whether the code asks the agent to come back.
func (c CloseCode) ComeBack() bool { return c >= 4000 && c <= 4499 }

// maxReason is what a WebSocket close frame can carry, less the code.
const maxReason = 123

// CloseReason formats the reason of a close: "retry=SECONDS; text". retry 0
// leaves it out. The text is cut to fit, at a rune's start.
func CloseReason(retry time.Duration, text string) string {
	if retry > 0 {
		text = fmt.Sprintf("retry=%d; %s", int64((retry+time.Second-1)/time.Second), text)
	}
	if len(text) > maxReason {
		cut := maxReason
		for cut > 0 && text[cut]&0xC0 == 0x80 {
			cut--
		}
		text = text[:cut]
	}
	return text
}

// ParseCloseReason is the inverse of CloseReason. What isn't in its form is all
// text.
func ParseCloseReason(reason string) (retry time.Duration, text string) {
	rest, ok := strings.CutPrefix(reason, "retry=")
	if !ok {
		return 0, reason
	}
	num, text, _ := strings.Cut(rest, "; ")
	n, err := strconv.ParseUint(num, 10, 31)
	if err != nil {
		return 0, reason
	}
	return time.Duration(n) * time.Second, text
}
