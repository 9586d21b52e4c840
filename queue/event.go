package queue

import "time"

// EventKind is what an event tells.
type EventKind string

// The kinds of events, from a host.
const (
	EventAccepted EventKind = "accepted"
	EventRejected EventKind = "rejected"
	EventStarted  EventKind = "started"
	EventOutput   EventKind = "output"
	EventGap      EventKind = "gap"
	EventFinished EventKind = "finished"
)

// Event is something that happened to an execution on its host. Events of one
// execution are numbered from 1 without holes. 1 is accepted or rejected; the
// last is rejected or finished.
type Event struct {
	Execution ExecutionID
	Seq       int64
	Kind      EventKind
	At        time.Time // host's clock, corrected

	Token    string // accepted, rejected: of the lease
	Position int64  // accepted: journal position

	Stream Stream // output
	Data   []byte // output: 1 to MaxChunk bytes

	// Gap stands for the events Seq..Through, whose data the host no longer
	// has; Bytes of output are missing.
	Through int64
	Bytes   int64

	Outcome  State  // finished: Succeeded, Failed, TimedOut, Cancelled, or Lost (the host has evidence that it vanished)
	ExitCode int    // finished
	Signal   string // finished
	Reason   string // rejected, finished
	Dropped  int64  // finished: bytes beyond the output limit
}

// HostEvents is what one host reports in one go.
type HostEvents struct {
	Host        HostID
	Incarnation int64
	Generation  string // of the host's journal
	Session     int64  // by which they came; 0 = any
	Events      []Event
}

// Verdict tells a host what to do with an execution.
type Verdict string

// The verdicts.
const (
	// VerdictNone: go on; Stored says what may be dropped, or where to rewind to.
	VerdictNone Verdict = ""
	// VerdictGo: accepted is stored; the script may be started.
	VerdictGo Verdict = "go"
	// VerdictCancel: end the script, or don't start it, and report finished.
	VerdictCancel Verdict = "cancel"
	// VerdictForget: drop what is spooled. If it wasn't started, never start it
	// under this token.
	VerdictForget Verdict = "forget"
)

// Ack answers the events of one execution in a batch.
type Ack struct {
	Execution ExecutionID
	Stored    int64 // events are stored up to this number
	Verdict   Verdict
	Reason    string // of a forget: stale_token, unknown, cancelled, expired, ended, other_generation
}
