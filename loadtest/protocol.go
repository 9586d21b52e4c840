package loadtest

import (
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/loadtest/report"
)

// order is what the parent asks of a worker, a line of JSON. Each is answered by a notice with its name when it
// is done. They are done one after another.
type order struct {
	Do      string        `json:"do"`
	Fleet   *fleetOrder   `json:"fleet,omitempty"`   // with doFleet, the first
	Tokens  []string      `json:"tokens,omitempty"`  // with doEnroll
	Rate    float64       `json:"rate,omitempty"`    // with doConnect: connections begun in a second
	Collect *collectOrder `json:"collect,omitempty"` // with doCollect
	File    string        `json:"file,omitempty"`    // with doProfile: to write
	Seconds int           `json:"seconds,omitempty"` // with doProfile: of CPU; 0 = the heap
}

// The orders.
const (
	doFleet   = "fleet"   // make the hosts
	doEnroll  = "enroll"  // register those that aren't
	doConnect = "connect" // begin to connect all, and keep them connected
	doRest    = "rest"    // give memory that isn't used back, for a measurement
	doPolls   = "polls"   // forget what was seen of polls so far
	doCollect = "collect" // give what was seen
	doProfile = "profile" // write a profile
)

// fleetOrder describes a worker's part of the fleet.
type fleetOrder struct {
	Identity Identity      `json:"identity"`
	From     int           `json:"from"` // numbers of its hosts: From to To-1
	To       int           `json:"to"`
	Hosts    int           `json:"hosts"` // of the whole fleet
	Mix      Mix           `json:"mix"`
	Gateways []string      `json:"gateways"`
	CA       string        `json:"ca,omitempty"` // PEM
	Dir      string        `json:"dir"`          // state directories of the hosts
	Volatile bool          `json:"volatile,omitempty"`
	Real     bool          `json:"real,omitempty"`
	PollWait time.Duration `json:"poll_wait"` // that a poll asks to be held; negative = not at all
	Version  string        `json:"version"`
}

// collectOrder asks for the steps of a job's executions.
type collectOrder struct {
	Job       string `json:"job"`       // "" = none: only errors and polls
	Submitted int64  `json:"submitted"` // Unix nanoseconds
}

// notice is what a worker says, a line of JSON.
type notice struct {
	Counts    *Counts    `json:"counts,omitempty"`
	Done      string     `json:"done,omitempty"`   // the order that is done
	Failed    string     `json:"failed,omitempty"` // with Done: why it couldn't be
	Collected *collected `json:"collected,omitempty"`
}

// Counts is how far a fleet is.
type Counts struct {
	Enrolled int64                      `json:"enrolled"`
	Up       map[client.Transport]int64 `json:"up"` // hosts with an open session
	Leased   int64                      `json:"leased"`
	Accepted int64                      `json:"accepted"`
	Started  int64                      `json:"started"`
	Finished int64                      `json:"finished"`
	Stored   int64                      `json:"stored"`
	Errors   int64                      `json:"errors"`
	Polls    int64                      `json:"polls"`
	// Waits is the sum of the intervals that answers to polls gave, in milliseconds, of as many polls as Waited.
	Waits  int64 `json:"waits"`
	Waited int64 `json:"waited"`

	// Memory is what the Go runtimes say of theirs, by the names of report.Usage.More.
	Memory map[string]float64 `json:"memory"`
}

// online is all hosts with an open session.
func (c Counts) online() int64 {
	n := int64(0)
	for _, k := range c.Up {
		n += k
	}
	return n
}

func (c *Counts) add(o Counts) {
	c.Enrolled += o.Enrolled
	if c.Up == nil {
		c.Up = map[client.Transport]int64{}
	}
	for tr, n := range o.Up {
		c.Up[tr] += n
	}
	c.Leased += o.Leased
	c.Accepted += o.Accepted
	c.Started += o.Started
	c.Finished += o.Finished
	c.Stored += o.Stored
	c.Errors += o.Errors
	c.Polls += o.Polls
	c.Waits += o.Waits
	c.Waited += o.Waited
	if c.Memory == nil {
		c.Memory = map[string]float64{}
	}
	for name, v := range o.Memory {
		c.Memory[name] += v
	}
}

// collected is what a worker saw.
type collected struct {
	Steps    [steps][]byte  `json:"steps"` // recorders of the job's executions, since the submit
	Errors   []report.Error `json:"errors"`
	Empty    []byte         `json:"empty"`    // recorder: polls answered at once with nothing
	Held     []byte         `json:"held"`     // recorder: held polls that ended with nothing
	Interval []byte         `json:"interval"` // recorder: Retry-After of polls that brought nothing
	Answers  map[string]int `json:"answers"`  // to polls, by status
}
