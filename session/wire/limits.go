package wire

import "time"

// Limits of the protocol that both sides know without asking.
const (
	MaxFrame     = 256 << 10 // bytes of a frame, a POST body, a poll's answer
	MaxMessages  = 1024      // in one frame
	MaxChunk     = 8 << 10   // bytes of output in one event
	InlineScript = 48 << 10  // bytes of a script sent within its job; larger ones by URL
	IdleCredit   = 4 << 10

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
