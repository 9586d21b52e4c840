// Package sessiontest is the conformance suite of the transports: what a host
// sees of a session must not depend on what carries it, nor on which gateway
// answers.
//
// Run takes a store and a transport, starts two hubs on the store, and plays
// hosts against them. The transports' drivers are in test files, since this package
// knows neither sockets nor requests; so is the switch between them.
package sessiontest

import (
	"fmt"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// Factory opens a fresh, empty store, and closes it when the test ends.
type Factory func(t testing.TB) queue.Store

// Transport makes carriers.
type Transport struct {
	Kind queue.Transport
	// Start makes the hubs reachable, until the test ends.
	Start func(t testing.TB, hubs []*session.Hub) Carrier
}

// Carrier connects hosts to the hubs. Where there are several, it uses them in
// turn: for each connection, or for each request.
type Carrier interface {
	// Dial connects as the peer, and says hello.
	Dial(t testing.TB, peer session.Peer, hello wire.Hello) Link
	// Get requests a path as the peer, and gives status and body.
	Get(t testing.TB, peer session.Peer, path string) (int, []byte)
}

// Link is the host's end of a session, without an agent's cleverness: it sends
// what it is told to, and gives what comes.
type Link interface {
	// Send sends messages as they are, in one frame or request. It doesn't wait for answers.
	Send(msgs ...wire.Message)
	// SendRaw sends a frame.
	SendRaw(frame []byte)
	// Recv gives the next message, or a *Closed once the session has ended, or another
	// error after timeout.
	Recv(timeout time.Duration) (wire.Message, error)
	// Cut ends the connection, or the requests, without a word.
	Cut()
}

// Closed is the end of a session, said by the gateway.
type Closed struct {
	Code   wire.CloseCode // requests: the code that means the same
	Reason string
	Retry  time.Duration
}

func (c *Closed) Error() string { return fmt.Sprintf("closed with %d: %s", c.Code, c.Reason) }

// Run runs the suite.
func Run(t *testing.T, open Factory, tr Transport) {
	for name, test := range map[string]func(*testing.T, *world){
		"Pushed":           testPushed,
		"Waiting":          testWaiting,
		"Life":             testLife,
		"OneAfterAnother":  testOneAfterAnother,
		"ManyAtOnce":       testManyAtOnce,
		"LargeScript":      testLargeScript,
		"BinaryScript":     testBinaryScript,
		"Urgent":           testUrgent,
		"Lapse":            testLapse,
		"AcceptedTwice":    testAcceptedTwice,
		"CancelRunning":    testCancelRunning,
		"CancelLeased":     testCancelLeased,
		"CancelAway":       testCancelAway,
		"CancelUntold":     testCancelUntold,
		"Repeated":         testRepeated,
		"Rewind":           testRewind,
		"Gap":              testGap,
		"Rejected":         testRejected,
		"Resume":           testResume,
		"ReleasedAtHello":  testReleasedAtHello,
		"ForeignInHand":    testForeignInHand,
		"Superseded":       testSuperseded,
		"Duplicate":        testDuplicate,
		"Standby":          testStandby,
		"Malformed":        testMalformed,
		"OtherHost":        testOtherHost,
		"OtherHostsScript": testOtherHostsScript,
		"OldIncarnation":   testOldIncarnation,
		"BeyondCredit":     testBeyondCredit,
		"StoreAway":        testStoreAway,
		"Drain":            testDrain,
		"Kick":             testKick,
		"Revoke":           testRevoke,
		"Expires":          testExpires,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, open, tr))
		})
	}
}
