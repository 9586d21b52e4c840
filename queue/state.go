package queue

import "fmt"

// State is the state of an execution. Its value is the state byte that
// [Reader.States] serves, one a host.
type State byte

// The states; see the package comment for the arrows between them.
const (
	Planned   State = 'p'
	Queued    State = 'q'
	Leased    State = 'l'
	Accepted  State = 'a'
	Running   State = 'r'
	Succeeded State = 's'
	Failed    State = 'f'
	TimedOut  State = 't'
	Cancelled State = 'c'
	Expired   State = 'e'
	Rejected  State = 'j'
	Lost      State = 'x'
)

// States lists all states in the order of an execution's life.
func States() []State {
	return []State{Planned, Queued, Leased, Accepted, Running, Succeeded, Failed, TimedOut, Cancelled, Expired, Rejected, Lost}
}

var stateNames = map[State]string{
	Planned: "planned", Queued: "queued", Leased: "leased", Accepted: "accepted", Running: "running",
	Succeeded: "succeeded", Failed: "failed", TimedOut: "timed_out", Cancelled: "cancelled",
	Expired: "expired", Rejected: "rejected", Lost: "lost",
}

// String gives the state's name as the API and the UI show it.
func (s State) String() string {
	if n, ok := stateNames[s]; ok {
		return n
	}
	return fmt.Sprintf("state(%d)", byte(s))
}

// ParseState is the inverse of String.
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if n == name {
			return s, nil
		}
	}
	return 0, Errorf(Invalid, "unknown state %q", name)
}

// Terminal tells whether the execution has ended.
func (s State) Terminal() bool {
	switch s {
	case Succeeded, Failed, TimedOut, Cancelled, Expired, Rejected, Lost:
		return true
	}
	return false
}

// Failure tells whether the state counts as a failure of its job.
func (s State) Failure() bool {
	switch s {
	case Failed, TimedOut, Lost, Rejected, Expired:
		return true
	}
	return false
}

// InFlight tells whether the execution occupies a slot of its lane.
func (s State) InFlight() bool { return s == Leased || s == Accepted || s == Running }

var arrows = map[State][]State{
	Planned:  {Queued, Cancelled, Expired},
	Queued:   {Leased, Cancelled, Expired},
	Leased:   {Queued, Accepted, Rejected, Cancelled, Expired},
	Accepted: {Running, Succeeded, Failed, TimedOut, Cancelled, Rejected, Lost},
	Running:  {Succeeded, Failed, TimedOut, Cancelled, Lost},
}

// CanMove tells whether the state table has the arrow from -> to.
func CanMove(from, to State) bool {
	for _, s := range arrows[from] {
		if s == to {
			return true
		}
	}
	return false
}

// Counters counts the executions of a job by state. The sum over all states is
// the number of the job's targets.
type Counters map[State]int

// Total is the number of targets.
func (c Counters) Total() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

// Done is the number of executions that have ended.
func (c Counters) Done() int {
	n := 0
	for s, v := range c {
		if s.Terminal() {
			n += v
		}
	}
	return n
}

// Failed is the number of executions that count as failures of the job.
func (c Counters) Failed() int {
	n := 0
	for s, v := range c {
		if s.Failure() {
			n += v
		}
	}
	return n
}
