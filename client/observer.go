package client

import "time"

// Observer is told what links meet, for measurements. Its functions must not block; they are called
// from the goroutines of every link that has it. nil ones are left out.
type Observer struct {
	// Ended: a session or an attempt has ended, other than by the end of Run.
	Ended func(Ended)
	// Polled: a poll was answered.
	Polled func(Polled)
	// Refused: a poll or a POST was answered with a refusal that the session sits out.
	Refused func(error)
}

// Ended is how a session or an attempt has ended.
type Ended struct {
	Transport Transport
	Gateway   string
	Opened    bool          // a session was open; else it was an attempt
	Fault     string        // what it was taken for: unreachable, refused, asked, cut, ...
	Retry     time.Duration // what the gateway asked for; -1 = nothing
	Err       error
}

// Polled is an answer to a poll.
type Polled struct {
	Status   int
	Hold     time.Duration // that the poll asked to be held at most
	Took     time.Duration // from the request to the end of the answer
	Retry    time.Duration // Retry-After; -1 = none
	Messages int
}

func (o *Observer) ended(e Ended) {
	if o != nil && o.Ended != nil {
		o.Ended(e)
	}
}

func (o *Observer) refused(err error) {
	if o != nil && o.Refused != nil {
		o.Refused(err)
	}
}

func (o *Observer) polled(p Polled) {
	if o != nil && o.Polled != nil {
		o.Polled(p)
	}
}
