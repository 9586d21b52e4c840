package queue

import "time"

// ServiceClock is time as far as the service was there to see it: it advances
// with the store's clock while something sweeps, and at most MaxTick per
// sweep. Deadlines in service time are thereby extended by any outage of the
// store and any pause of the sweepers.
//
// A store keeps one per partition and uses it for leases and silence.
type ServiceClock struct {
	Last    time.Time     // store's clock at the last tick
	Service time.Duration // service time at the last tick
}

// MaxTick is the most that service time advances between two ticks. Sweeps
// are to come more often than that.
const MaxTick = 15 * time.Second

// At gives the service time at the store's time now, without ticking.
func (c ServiceClock) At(now time.Time) time.Duration {
	d := now.Sub(c.Last)
	if c.Last.IsZero() || d < 0 {
		d = 0
	}
	return c.Service + min(d, MaxTick)
}

// Tick advances the clock to the store's time now. A clock that went backwards
// makes service time stand still.
func (c ServiceClock) Tick(now time.Time) ServiceClock {
	return ServiceClock{Last: now, Service: c.At(now)}
}
