package wire

import "time"

// Limits of the protocol that both sides know without asking.
const (
	MaxFrame     = 256 << 10 // bytes of a frame, a POST body, a poll's answer
	MaxMessages  = 1024      // in one frame
	MaxChunk     = 8 << 10   // bytes of output in one event
	InlineScript = 48 << 10  // bytes of a script sent within its job; larger ones by URL
	IdleCredit   = 4 << 10

	// What a host may say of itself. Beyond these a message is malformed, but for
	// reasons, which the gateway cuts.
	MaxWord   = 128     // bytes of a version, boot id, generation, nonce, token
	MaxFacts  = 8 << 10 // bytes of names and values, and 6 for each pair
	MaxFact   = 128     // bytes of a fact's name
	MaxLanes  = 16      // with slots
	MaxSlots  = 64      // of one lane
	MaxInHand = 1024    // executions in a hello: MaxLanes times MaxSlots
	MaxReason = 1 << 10 // bytes kept of a reason
	MaxSignal = 32      // bytes of a signal's name

	// MaxNumber bounds sequences, positions, and counts of bytes: what every JSON
	// library reads exactly.
	MaxNumber = 1<<53 - 1
	// MaxTime is the end of the year 9999.
	MaxTime = 253402300799999

	PingInterval = 25 * time.Second
	DeadAfter    = 60 * time.Second
)

// Paths of the agents' routes.
const (
	PathSocket   = "/v1/agent/socket"
	PathPoll     = "/v1/agent/poll"     // ?session=&after=&wait=
	PathMessages = "/v1/agent/messages" // ?session= but for hello
	PathEnroll   = "/v1/agent/enroll"
	PathScript   = "/v1/agent/script/" // + execution id
)
