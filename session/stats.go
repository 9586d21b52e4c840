package session

import (
	"sync/atomic"

	"github.com/rexgate/rexgate/session/wire"
)

type counters struct {
	attached, framesIn, messagesIn, framesOut, messagesOut atomic.Int64
	hints, leases, jobs, cancels, claims, records, events  atomic.Int64
	storeErrors                                            atomic.Int64
	closedCodes                                            [len(codes)]atomic.Int64
}

// codes are the close codes that are counted each by itself.
var codes = [...]wire.CloseCode{
	wire.CloseDrain, wire.CloseSuperseded, wire.CloseSlow, wire.CloseOverload, wire.CloseUnavailable, wire.CloseSilent,
	wire.CloseExpired, wire.CloseDuplicate, wire.CloseHello, wire.CloseMalformed, wire.CloseForbidden, wire.CloseRevoked,
	wire.CloseVersion,
}

func (c *counters) closed(code wire.CloseCode) {
	for i, k := range codes {
		if k == code {
			c.closedCodes[i].Add(1)
		}
	}
}

// Stats are a hub's figures, for metrics. The first group is what is now, the
// second counts since the start.
type Stats struct {
	Sessions   int   // attached sockets, those in standby included
	Polls      int   // held
	Waiting    int   // sessions in line for a turn
	Parked     int   // sessions that wait for the store
	CreditFree int64 // bytes

	Attached, FramesIn, MessagesIn, FramesOut, MessagesOut int64
	Hints                                                  int64 // hosts named by hints
	Leases                                                 int64 // calls
	Jobs, Cancels                                          int64 // delivered
	Claims                                                 int64 // sessions begun
	Records                                                int64 // calls
	Events                                                 int64 // recorded
	StoreErrors                                            int64 // calls that were put off
	// Closed counts what was closed by this side, by code; all codes are present.
	Closed map[wire.CloseCode]int64
}

// Stats gives the figures of now.
func (h *Hub) Stats() Stats {
	c := &h.count
	st := Stats{
		Waiting: h.turns.waiting(), CreditFree: h.credit.free.Load(),
		Attached: c.attached.Load(), FramesIn: c.framesIn.Load(), MessagesIn: c.messagesIn.Load(),
		FramesOut: c.framesOut.Load(), MessagesOut: c.messagesOut.Load(), Hints: c.hints.Load(), Leases: c.leases.Load(),
		Jobs: c.jobs.Load(), Cancels: c.cancels.Load(), Claims: c.claims.Load(), Records: c.records.Load(),
		Events: c.events.Load(), StoreErrors: c.storeErrors.Load(),
		Closed: make(map[wire.CloseCode]int64, len(codes)),
	}
	st.Parked, _ = h.parked.figures()
	for i, k := range codes {
		st.Closed[k] = c.closedCodes[i].Load()
	}
	h.mu.Lock()
	st.Sessions, st.Polls = len(h.attached), h.watches
	h.mu.Unlock()
	return st
}
