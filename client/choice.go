package client

import (
	"sync"
	"time"
)

// choice decides which transport to use, with which gateway, and when. It does
// no I/O and starts nothing; times come in as arguments.
type choice struct {
	mode Mode
	t    Timing
	rnd  func() float64 // uniform in [0, 1)

	mu        sync.Mutex // guards the following
	transport Transport
	// unproven: the poll was taken because the socket failed, and hasn't worked
	// since. If it can't reach a gateway either, the socket wasn't to blame.
	unproven  bool
	notBefore []time.Time // per gateway
	gateway   int
	failed    int // attempts that failed since the last stable session
	upSince   time.Time

	halves     int         // handshakes that were cut since the last answer to one
	pendingCut time.Time   // a cut that counts if the next attempt gets through
	cuts       []time.Time // that counted, at most t.CutLimit
	lastTake   time.Time
	probes     int // that failed since the socket last held
	probeAt    time.Time
}

// halvesLimit is how many cut handshakes in a row mean that the socket doesn't work. If the poll
// can't reach a gateway then, it is the socket's turn again.
const halvesLimit = 2

// step is the next thing to do.
type step struct {
	transport Transport
	gateway   int
	at        time.Time
}

func newChoice(mode Mode, t Timing, gateways int, rnd func() float64) *choice {
	c := &choice{mode: mode, t: t, rnd: rnd, transport: Socket, notBefore: make([]time.Time, gateways)}
	if mode == ModePoll {
		c.transport = Poll
	}
	return c
}

// begin sets what worked last.
func (c *choice) begin(now time.Time, tr Transport, gateway int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gateway = gateway
	if c.mode == ModeAuto && tr == Poll {
		c.transport, c.unproven = Poll, true
		c.scheduleProbe(now)
	}
}

// force uses one transport from now on.
func (c *choice) force(tr Transport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport = tr
	c.mode = map[Transport]Mode{Socket: ModeSocket, Poll: ModePoll}[tr]
}

// next tells what to do next; at may be in the past.
func (c *choice) next(now time.Time) step {
	c.mu.Lock()
	defer c.mu.Unlock()
	soonest := c.notBefore[0]
	for _, t := range c.notBefore {
		if t.Before(soonest) {
			soonest = t
		}
	}
	if soonest.Before(now) {
		soonest = now
	}
	for i := range c.notBefore {
		g := (c.gateway + i) % len(c.notBefore)
		if !c.notBefore[g].After(soonest) {
			c.gateway = g
			break
		}
	}
	return step{transport: c.transport, gateway: c.gateway, at: c.notBefore[c.gateway]}
}

// up says that a session was opened by the last step.
func (c *choice) up(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isUp(now)
}

func (c *choice) isUp(now time.Time) {
	c.upSince, c.halves = now, 0
	c.notBefore[c.gateway] = time.Time{}
	if c.transport == Poll {
		c.unproven = false
	}
	if !c.pendingCut.IsZero() {
		c.cuts = append(c.cuts, c.pendingCut)
		c.pendingCut = time.Time{}
		if len(c.cuts) > c.t.CutLimit {
			c.cuts = c.cuts[1:]
		}
	}
}

// took says that a standby socket at a gateway has taken over from the poll.
func (c *choice) took(now time.Time, gateway int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport, c.gateway, c.unproven = Socket, gateway, false
	c.cuts, c.pendingCut, c.lastTake = nil, time.Time{}, now
	c.isUp(now)
}

// ended says how the last step's session or attempt ended.
func (c *choice) ended(now time.Time, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stable := !c.upSince.IsZero() && now.Sub(c.upSince) >= c.t.Stable
	if stable {
		c.failed = 0
	}
	c.upSince = time.Time{}
	if o.fault != faultCut {
		c.pendingCut = time.Time{}
	}
	switch o.fault {
	case faultSocketBroken:
		if c.fall(now) {
			return
		}
		c.rotate()
		c.retreat(now)
	case faultCut:
		if c.cutTooOften(now) && c.fall(now) {
			return
		}
		c.pendingCut = now
		c.retreat(now)
	case faultHalf:
		// A gateway that is going cuts one, and then listens no more; what kills upgrades on
		// the way does so each time.
		if c.halves++; c.halves >= halvesLimit && c.fall(now) {
			return
		}
		c.rotate()
		c.retreat(now)
	case faultUnreachable:
		if c.unproven && c.mode == ModeAuto && c.transport == Poll {
			c.transport, c.unproven = Socket, false
		}
		c.rotate()
		c.retreat(now)
	case faultRefused:
		at := c.gateway
		c.halves = 0
		c.rotate()
		c.retreat(now)
		if o.retry > 0 || o.slow {
			c.notBefore[at] = now.Add(c.refusal(o))
		}
	case faultAsked:
		at := c.gateway
		if !o.stay {
			c.rotate()
		}
		switch {
		case o.retry > 0 || o.retry == 0 && stable:
			// It is the moment to come back to any gateway: the spread is in it.
			c.hold(now.Add(o.retry))
		case o.slow:
			c.retreat(now)
			c.notBefore[at] = now.Add(c.refusal(o))
		default:
			c.retreat(now)
		}
	}
}

// refusal is how long a gateway that refused is left alone: what it said; where
// nothing will change soon, at least at the pace of the cap.
func (c *choice) refusal(o outcome) time.Duration {
	if o.slow {
		return max(o.retry, c.jitter(c.t.BackoffCap))
	}
	return o.retry
}

// retreat keeps from all gateways for a moment of the backoff's window.
func (c *choice) retreat(now time.Time) {
	until := now.Add(c.jitter(c.window()))
	c.failed++
	c.hold(until)
}

// hold keeps from all gateways until then.
func (c *choice) hold(until time.Time) {
	for i, t := range c.notBefore {
		if t.Before(until) {
			c.notBefore[i] = until
		}
	}
}

// window doubles with each round through the list of gateways: the cap comes first, the
// jitter is drawn from what it leaves, so that no two hosts meet at the cap.
func (c *choice) window() time.Duration {
	w := c.t.BackoffBase
	for i := 0; i < c.failed/len(c.notBefore) && w < c.t.BackoffCap; i++ {
		w *= 2
	}
	return min(w, c.t.BackoffCap)
}

func (c *choice) jitter(window time.Duration) time.Duration {
	return time.Duration(c.rnd() * float64(window))
}

func (c *choice) rotate() { c.gateway = (c.gateway + 1) % len(c.notBefore) }

// cutTooOften tells whether a cut now is one too many.
func (c *choice) cutTooOften(now time.Time) bool {
	if c.transport != Socket {
		return false
	}
	n := 1
	for _, t := range c.cuts {
		if now.Sub(t) < c.t.CutWindow {
			n++
		}
	}
	return n >= c.t.CutLimit
}

// fall takes the poll, at once, if it may.
func (c *choice) fall(now time.Time) bool {
	if c.mode != ModeAuto || c.transport != Socket {
		return false
	}
	c.transport, c.unproven = Poll, true
	c.cuts, c.pendingCut, c.halves = nil, time.Time{}, 0
	if !c.lastTake.IsZero() && now.Sub(c.lastTake) < 4*c.t.CutWindow {
		c.probes++ // it held as a standby, and not for long after: trust it more slowly
	} else {
		c.probes = 0
	}
	c.scheduleProbe(now)
	return true
}

// probe tells when the socket is to be tried next beside the poll, and where.
func (c *choice) probe() step {
	c.mu.Lock()
	defer c.mu.Unlock()
	return step{transport: Socket, gateway: (c.gateway + c.probes) % len(c.notBefore), at: c.probeAt}
}

// probeEnded says how a standby socket ended without having taken over.
func (c *choice) probeEnded(now time.Time, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.fault != faultAsked {
		c.probes++
	}
	c.scheduleProbe(now)
	if o.retry > 0 && c.probeAt.Before(now.Add(o.retry)) {
		c.probeAt = now.Add(o.retry)
	}
}

func (c *choice) scheduleProbe(now time.Time) {
	w := c.t.ProbeMin
	for i := 0; i < c.probes && w < c.t.ProbeMax; i++ {
		w *= 2
	}
	w = min(w, c.t.ProbeMax)
	c.probeAt = now.Add(w/2 + c.jitter(w/2))
}
