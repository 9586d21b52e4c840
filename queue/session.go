package queue

import "time"

// Claim is the input of Sessions.Claim: a host's hello as the store sees it.
type Claim struct {
	Host        HostID
	Incarnation int64
	Gateway     string
	Transport   Transport
	Due         time.Duration // poll: overdue after; 0 for a socket

	AgentVersion string
	BootID       string
	Generation   string       // of the journal
	Position     int64        // of the journal when the hello was composed
	Nonce        string       // of the agent's process
	Slots        map[Lane]int // see SlotsIn; at most MaxLanes of 0 to MaxSlots
	Facts        map[string]string
	InHand       []InHand
}

// Validate tells what is wrong with the claim, whatever is stored.
func (c *Claim) Validate() error {
	if err := c.Host.Validate(); err != nil {
		return err
	}
	if len(c.Slots) > MaxLanes {
		return Errorf(Invalid, "slots: %d lanes, at most %d", len(c.Slots), MaxLanes)
	}
	for l, n := range c.Slots {
		if err := l.Validate(); err != nil {
			return err
		}
		if n < 0 || n > MaxSlots {
			return Errorf(Invalid, "slots: %d in lane %s, 0 to %d are possible", n, l, MaxSlots)
		}
	}
	facts := 0
	for k, v := range c.Facts {
		facts += len(k) + len(v) + 6 // as JSON: quotes, colon, comma
	}
	if facts > MaxFacts {
		return Errorf(Invalid, "facts: %d bytes, at most %d", facts, MaxFacts)
	}
	return nil
}

// InHand is an execution that the host says it has.
type InHand struct {
	Execution ExecutionID
	Token     string // the lease token it was accepted under
	Seq       int64  // the last event the host has made
}

// Claimed is the answer to a claim.
type Claimed struct {
	Session int64 // the new session's epoch: larger than any before, for this host
	N       int64 // number of the last message to this host; what is numbered below is settled
	Now     time.Time
	// Verdicts: one for each execution in hand (VerdictGo if it is accepted or running), and VerdictCancel for each other
	// execution of the host that is to be cancelled. Cancels are settled by it.
	Verdicts []Ack
	// Lost counts the executions that this hello proved to be gone.
	Lost int
	// Replaced is the gateway that held the session before, "" if none.
	Replaced string
}

// Fetch is the input of Sessions.Lease.
type Fetch struct {
	Host    HostID
	Session int64
	Gateway string // that asks; for polls it becomes the one that hints go to
	// After: messages numbered up to here have arrived at the host.
	After int64
	Max   int           // deliveries at most
	TTL   time.Duration // of new leases, in service time
	Due   time.Duration // poll: the next request is overdue after; 0 for a socket
}

// Delivery is a numbered message to a host: an execution to run, or to cancel.
type Delivery struct {
	N         int64
	Cancel    bool
	Execution Execution
	Token     string // of the lease; "" for a cancel
}

// Fetched is the answer of Sessions.Lease.
type Fetched struct {
	// Deliveries, by N: first what the session already holds with N > After
	// (same N, same token), then new ones.
	Deliveries []Delivery
	N          int64 // number of the last message to this host
	// More: a message, or work that fits a free slot, waits that didn't fit Max.
	More bool
	// InHand counts leased, accepted and running executions, after this call.
	InHand int
	Now    time.Time
}
