package poll

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// arrival is a host's next poll in a simulated fleet.
type arrival struct {
	at   time.Time
	host int
}

type arrivals []arrival

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)        { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// simulate has hosts that all come within the first second, and then obey, to the
// whole second, for so long. It gives the polls of each second, and each host's
// longest and shortest interval.
func simulate(s *Schedule, hosts int, long time.Duration) (perSecond []int, shortest, longest time.Duration) {
	begin := time.Unix(1_000_000, 0)
	perSecond = make([]int, long/time.Second)
	var fleet arrivals
	for i := range hosts {
		heap.Push(&fleet, arrival{begin.Add(rand.N(time.Second)), i})
	}
	last := make([]time.Time, hosts)
	shortest = long
	for {
		a := heap.Pop(&fleet).(arrival)
		second := int(a.at.Sub(begin) / time.Second)
		if second >= len(perSecond) {
			return perSecond, shortest, longest
		}
		perSecond[second]++
		if !last[a.host].IsZero() {
			d := a.at.Sub(last[a.host])
			shortest, longest = min(shortest, d), max(longest, d)
		}
		last[a.host] = a.at
		slot := s.Next(queue.HostID(fmt.Sprint(a.host)), a.at)
		wait := (slot.Sub(a.at) + time.Second - 1) / time.Second * time.Second
		heap.Push(&fleet, arrival{a.at.Add(wait), a.host})
	}
}

func TestFewHostsPollAtTheMinimum(t *testing.T) {
	s := NewSchedule(100, 15*time.Second)
	_, shortest, longest := simulate(s, 50, 10*time.Minute)
	if shortest != 15*time.Second || longest > 17*time.Second {
		t.Errorf("intervals of %v to %v", shortest, longest)
	}
}

func TestRateWins(t *testing.T) {
	const perSecond, hosts = 20, 8_000 // 400 s are more than 5 min
	s := NewSchedule(perSecond, 15*time.Second)
	seconds, shortest, longest := simulate(s, hosts, 20*time.Minute)
	if longest < 400*time.Second || longest > 420*time.Second || shortest < 15*time.Second {
		t.Errorf("intervals of %v to %v", shortest, longest)
	}
	for i, n := range seconds[20:] {
		if n > 2*perSecond {
			t.Errorf("%d polls in second %d", n, i+20)
		}
	}
	for from := 20; from+60 <= len(seconds); from += 60 { // even by construction
		sum := 0
		for _, n := range seconds[from : from+60] {
			sum += n
		}
		if sum < 58*perSecond || sum > 62*perSecond {
			t.Errorf("%d polls in the minute from second %d", sum, from)
		}
	}
}

func TestEarlyPollsGetTheRemainder(t *testing.T) {
	s := NewSchedule(1, 15*time.Second)
	now := time.Unix(1_000_000, 0)
	first := s.Next("a", now)
	if first.Sub(now) != 15*time.Second {
		t.Errorf("the first slot is after %v", first.Sub(now))
	}
	for d := range 15 {
		if at := s.Next("a", now.Add(time.Duration(d)*time.Second)); !at.Equal(first) {
			t.Errorf("after %d s, another slot: %v", d, at.Sub(first))
		}
	}
	// The early polls pushed nobody else's slot.
	if at := s.Next("b", now.Add(14*time.Second)); at.Sub(now) != 29*time.Second {
		t.Errorf("the other's slot is after %v", at.Sub(now))
	}
	if n, last := s.Due(now.Add(14 * time.Second)); n != 2 || last != 15*time.Second {
		t.Errorf("%d hosts due, the last in %v", n, last)
	}
	if at := s.Next("a", first); at.Sub(first) != 15*time.Second {
		t.Errorf("the next slot is after %v", at.Sub(first))
	}
	if n, last := s.Due(now.Add(time.Hour)); n != 0 || last != 0 || len(s.slots) != 0 {
		t.Errorf("much later, %d hosts due in %v, %d kept", n, last, len(s.slots))
	}
}
