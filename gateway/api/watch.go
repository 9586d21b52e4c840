package api

import "time"

// GET /v1/watch?topic=T&topic=T...&cursor=C is a live view of up to MaxTopics topics: a
// WebSocket (subprotocol WatchProtocol) with one JSON WatchMessage a text frame, or, with
// Accept: text/event-stream, the same messages as server-sent events whose id is the
// cursor. Nothing is sent to the server; to watch something else, open another.
//
// For each topic a snapshot comes first, then deltas. Each message says which
// state it applies to (Prev) and which one it leads to (Seq). Whoever has another one
// than Prev has a gap, drops what it has, and opens the watch again without a cursor.
// With a cursor (the last that was received; for server-sent events also
// Last-Event-ID) deltas go on where it stands, on any gateway; where a gateway
// can't tell what came between, a snapshot comes. A watch may be closed at
// any time, also in good order: whoever still wants it opens it again.
//
// A reader that is slow gets fewer, larger deltas; one that takes nothing for half a minute is closed.
//
// A WebSocket is closed with the codes and reasons of wire.CloseCode; server-sent
// events end with one of type "end", whose data is a WatchEnd: when the gateway goes (4000), the
// reader was too slow (4002), or the token or cookie has expired (4006).

// Topics of a watch. The id of an execution is JOB.HOST.
const (
	TopicJobs      = "jobs"       // the newest MaxWatchedJobs jobs
	TopicJob       = "job:"       // + job id: the job and the states of its hosts
	TopicExecution = "execution:" // + execution id: its state, and its output as it comes
)

// Bounds of a watch.
const (
	MaxTopics      = 4
	MaxWatchedJobs = 50
)

// WatchProtocol is the WebSocket subprotocol of a watch.
const WatchProtocol = "rexgate.watch.v1.json"

// WatchMessage is one message of a watch. One without a topic is a sign of life, sent
// at least every WatchBeat seconds if nothing else is.
type WatchMessage struct {
	Topic  string `json:"topic,omitempty"`
	Cursor string `json:"cursor,omitempty"` // of all topics of this watch, after this message
	// Snapshot says that this is all there is now of the topic, whatever was known before. The snapshot
	// of an execution is followed by its output, from the beginning, in deltas.
	Snapshot bool  `json:"snapshot,omitempty"`
	Prev     int64 `json:"prev,omitempty"` // not of a snapshot
	Seq      int64 `json:"seq,omitempty"`
	Time     int64 `json:"time"` // the gateway's clock, Unix milliseconds

	// Of jobs: those that are new or have changed, newest first, without their scripts and
	// environments, and the ids of those that are no longer among the newest.
	Jobs    []Job    `json:"jobs,omitempty"`
	Removed []string `json:"removed,omitempty"`

	// Of a job, with its script left out. States has a byte per ordinal, as GET
	// /v1/jobs/{id}/states has, in base64: in a snapshot, and in a delta that changes
	// many of them; otherwise Changes has those that changed.
	Job     *Job          `json:"job,omitempty"`
	States  []byte        `json:"states,omitempty"`
	Changes []StateChange `json:"changes,omitempty"`

	// Of an execution, with why it hasn't ended yet, which is told anew when it is something else; Output in order.
	Execution *Execution    `json:"execution,omitempty"`
	Output    []OutputChunk `json:"output,omitempty"`

	// Problem ends a topic: nothing more comes of it.
	Problem *Problem `json:"problem,omitempty"`
}

// WatchEnd is what the last server-sent event says: the code that a WebSocket would be closed with,
// and in how many seconds to come back.
type WatchEnd struct {
	Code   int    `json:"code"`
	Retry  int    `json:"retry,omitempty"`
	Reason string `json:"reason"`
}

// WatchBeat is the longest silence of a watch, in seconds.
const WatchBeat = 15

// StateChange is the new state of the execution with an ordinal: [ordinal, state byte].
type StateChange [2]int

// OutputChunk is a piece of output as the host sent it, or a gap. Exactly one of Text,
// Base64 and Gap is set. A character may be torn between chunks of the same stream.
type OutputChunk struct {
	Seq    int64  `json:"seq"`    // rising, with holes
	Stream string `json:"stream"` // stdout or stderr; "" for a gap
	At     int64  `json:"at"`     // Unix milliseconds, by the host's clock as corrected
	Offset int64  `json:"offset"` // of the first byte, in both streams together
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"b64,omitempty"` // instead, where it isn't UTF-8 by itself
	Gap    int64  `json:"gap,omitempty"` // bytes lost on the way, known to be missing here
}

// LoginRequest is the body of POST /v1/login: an operator's token, or a code that
// works once. The answer is a Login and sets the cookie that browsers use in the
// token's place. GET /v1/login tells who is logged in, DELETE ends it in this browser.
type LoginRequest struct {
	Token string `json:"token,omitempty"`
	Code  string `json:"code,omitempty"`
}

// Login tells who is logged in.
type Login struct {
	Subject string    `json:"subject"`
	Scopes  []string  `json:"scopes"`
	Expires time.Time `json:"expires"`
}
