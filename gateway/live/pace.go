package live

import "time"

// Pace says how often a reader reads.
type Pace struct {
	Soonest  time.Duration // the least pause, however often it is touched
	Shortest time.Duration // the pause after a change, untouched
	Longest  time.Duration // which the pause grows to while nothing changes
	Rest     int           // a pause is at least so many times as long as the reading before it took
}

// DefaultPace is that of waiting and following.
var DefaultPace = Pace{Soonest: 20 * time.Millisecond, Shortest: 100 * time.Millisecond, Longest: time.Second, Rest: 4}

// Bounds of all readers of a feed together, so that many keys aren't as much costlier.
const (
	touchedReads   = 2000 // a second
	untouchedReads = 500
	longestRest    = 30 * time.Second
)

// pauses gives the pause that nothing shortens and the one that a touch shortens to that, of
// one of so many readers, whose last reading took so long.
func (p Pace) pauses(pause, took time.Duration, readers int) (rest, wait time.Duration) {
	rest = max(p.Soonest, min(time.Duration(p.Rest)*took, longestRest), time.Duration(readers)*time.Second/touchedReads)
	return rest, max(rest, pause, time.Duration(readers)*time.Second/untouchedReads)
}
