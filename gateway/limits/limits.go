// Package limits says who may ask how much. A [Gate] stands before each class
// of requests and before any cryptography; [Each] bounds what one identity may
// ask of a class, once it is known. Nothing is ever limited by address: a whole
// fleet may share one proxy.
//
// Whoever is refused is told when to come back. A gate hands out the slots of a
// schedule for that, so that those whom it refuses come back evenly.
package limits

import (
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"

	"github.com/rexgate/rexgate/gateway/recent"
)

// Class is a kind of requests with a limit of its own.
type Class string

// The classes.
const (
	Enroll   Class = "enroll"
	Poll     Class = "poll"
	Messages Class = "messages"
	Upgrade  Class = "upgrade"
	Script   Class = "script"
	Operator Class = "operator"
	Login    Class = "login"
)

// Classes lists all classes.
func Classes() []Class { return []Class{Enroll, Poll, Messages, Upgrade, Script, Operator, Login} }

// Rate is a number of requests a second, and how many may come at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limit is what a class allows: to all together, and to each identity.
type Limit struct {
	All  Rate
	Each Rate
}

// Defaults are limits for a gateway that admits hosts at perSecond (upgrades, hellos) and
// polls at pollsPerSecond.
func Defaults(perSecond, pollsPerSecond float64) map[Class]Limit {
	return map[Class]Limit{
		Enroll:   {All: rateOf(perSecond), Each: Rate{PerSecond: 500, Burst: 2000}}, // each = a token
		Upgrade:  {All: rateOf(perSecond), Each: Rate{PerSecond: 0.5, Burst: 10}},
		Poll:     {All: rateOf(2 * pollsPerSecond), Each: Rate{PerSecond: 10, Burst: 50}},
		Messages: {All: rateOf(5 * max(pollsPerSecond, perSecond)), Each: Rate{PerSecond: 50, Burst: 200}},
		Script:   {All: rateOf(perSecond), Each: Rate{PerSecond: 5, Burst: 50}},
		Login:    {All: Rate{PerSecond: 100, Burst: 200}, Each: Rate{PerSecond: 1, Burst: 30}},
		Operator: {All: Rate{PerSecond: 2000, Burst: 4000}, Each: Rate{PerSecond: 500, Burst: 2000}},
	}
}

// rateOf allows a second's worth at once.
func rateOf(perSecond float64) Rate {
	return Rate{PerSecond: max(perSecond, 1), Burst: max(int(perSecond), 10)}
}

// Gate admits the requests of a class. It is safe for concurrent use.
type Gate struct {
	admit *rate.Limiter
	back  *rate.Limiter // when those who are refused are due
	most  time.Duration
}

// NewGate makes a gate. Nobody is told to stay away for longer than about most.
func NewGate(r Rate, most time.Duration) *Gate {
	return &Gate{
		admit: rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst),
		back:  rate.NewLimiter(rate.Limit(r.PerSecond), 1),
		most:  most,
	}
}

// Admit tells whether a request may pass now, and if not, when it may come back: the
// next free slot of the schedule, or, where that is too far off, any moment in
// the second half of the longest time.
func (g *Gate) Admit() (bool, time.Duration) {
	if g.admit.Allow() {
		return true, 0
	}
	now := time.Now()
	r := g.back.ReserveN(now, 1)
	d := r.DelayFrom(now)
	if !r.OK() || d > g.most {
		r.CancelAt(now)
		d = g.most/2 + rand.N(g.most/2+1)
	}
	return false, max(d, time.Second)
}

// Each bounds what single identities may ask. It is safe for concurrent use. Of
// more than its maximum of identities it forgets those that were quiet for longest, which
// are those that a limit means least to.
type Each struct {
	r    Rate
	seen *recent.Map[string, *rate.Limiter]
}

// NewEach makes a limit for each of up to max identities.
func NewEach(r Rate, max int) *Each {
	return &Each{r: r, seen: recent.New[string, *rate.Limiter](max)}
}

// Admit tells whether the identity may pass now, and if not, when.
func (e *Each) Admit(id string) (bool, time.Duration) {
	l := e.seen.GetOr(id, func() *rate.Limiter { return rate.NewLimiter(rate.Limit(e.r.PerSecond), e.r.Burst) })
	now := time.Now()
	r := l.ReserveN(now, 1)
	if !r.OK() {
		return false, time.Minute
	}
	d := r.DelayFrom(now)
	if d == 0 {
		return true, 0
	}
	r.CancelAt(now)
	return false, max(d, time.Second)
}
