package queue

import "time"

// Execution is one job on one host.
type Execution struct {
	Job         JobID
	Host        HostID
	Ordinal     int // index of its byte in States and of its host in Targets
	State       State
	Incarnation int64
	Lane        Lane
	Priority    int

	// Times on the store's clock; zero = hasn't happened.
	ReleasedAt time.Time
	NotBefore  time.Time
	// DeliverUntil is when it expires if not leased, and the moment after
	// which it is never delivered anew: max(released, not_before)+pickup_timeout.
	DeliverUntil time.Time
	LeasedAt     time.Time
	AcceptedAt   time.Time
	StartedAt    time.Time
	FinishedAt   time.Time
	CancelledAt  time.Time // a cancel was asked for; it may still be on its way

	Deliveries int    // how often it was leased
	Generation string // of the journal that accepted it
	Position   int64  // of accepted in that journal

	Stored int64 // events are stored up to this number
	Result Result
	Late   *Result // what arrived after it had ended
	Output OutputInfo
}

// ID is the execution's id.
func (e Execution) ID() ExecutionID { return NewExecutionID(e.Job, e.Host) }

// Result is how an execution ended.
type Result struct {
	Outcome  State  // a terminal state
	ExitCode int    // -1 if it didn't exit
	Signal   string // "SIGKILL", ...; "" if none
	Reason   string // for people: why rejected, lost, expired, cancelled by whom
	At       time.Time
}

// OutputInfo sums up what is stored of an execution's output, in bytes.
type OutputInfo struct {
	Stdout  int64 // stored
	Stderr  int64 // stored
	Dropped int64 // beyond the output limit, as the host counted, or the store (OutputBound): marked truncated, not stored
	Gap     int64 // lost on the way, known to be missing
	Deleted bool  // removed by retention
}

// Stream is one of a script's output streams.
type Stream byte

// The streams. Both is for queries only.
const (
	Both   Stream = 0
	Stdout Stream = 1
	Stderr Stream = 2
)

// Chunk is a piece of output as the host sent it.
type Chunk struct {
	Seq    int64 // event number; strictly rising, with holes where other events were
	Stream Stream
	At     time.Time // on the host's clock, corrected by what it learnt of ours
	Offset int64     // of Data's first byte, in the coordinates of the query's stream
	Data   []byte
	Gap    int64 // >0: so many bytes are missing here, Data is empty
}

// OutputQuery reads output from a byte offset on.
type OutputQuery struct {
	Job    JobID
	Host   HostID
	Stream Stream // Both: offsets count both streams together, in order of arrival
	Offset int64  // first byte wanted; the first chunk is cut to begin there
	Limit  int    // bytes at most, 1 to MaxOutputPage; one chunk at least is given if there is one, cut if it alone is larger
}

// ExecutionQuery lists a job's executions, ordered by ordinal. Planned ones are
// part of it.
type ExecutionQuery struct {
	Job    JobID
	States []State // nil = all
	After  string  // cursor; "" = from the start
	Limit  int     // 1 to 1000
}

// Limits of what one query may ask for.
const (
	MaxPage       = 1000    // jobs, executions or hosts
	MaxOutputPage = 1 << 20 // bytes of output
)

// ValidateLimit tells whether a page of a listing has a possible size.
func ValidateLimit(n int) error {
	if n < 1 || n > MaxPage {
		return Errorf(Invalid, "limit: %d, 1 to %d are possible", n, MaxPage)
	}
	return nil
}

// Validate tells what is wrong with the query.
func (q OutputQuery) Validate() error {
	switch {
	case q.Stream > Stderr:
		return Errorf(Invalid, "stream: there is no stream %d", q.Stream)
	case q.Offset < 0:
		return Errorf(Invalid, "offset: %d is before the beginning", q.Offset)
	case q.Limit < 1 || q.Limit > MaxOutputPage:
		return Errorf(Invalid, "limit: %d bytes, 1 to %d are possible", q.Limit, MaxOutputPage)
	}
	return nil
}
