package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// column is what an execution is when a fault strikes, as the table of a run counts it.
type column string

// The columns. Ended is what ended in the second before: its last acknowledgement may be on its way.
const (
	colPlanned  column = "planned"
	colQueued   column = "queued"
	colLeased   column = "leased"
	colAccepted column = "accepted"
	colRunning  column = "running"
	colEnded    column = "ended"
)

func columns() []column {
	return []column{colPlanned, colQueued, colLeased, colAccepted, colRunning, colEnded}
}

// fault is one entry of a schedule. All of it follows from the seed.
type fault struct {
	N      int           `json:"n"`
	Kind   string        `json:"kind"`
	Column column        `json:"column"` // that it is to strike in
	Point  point         `json:"point,omitempty"`
	After  int           `json:"after"`  // executions that end between the fault before and this one
	Victim uint64        `json:"victim"` // which of those that the kind can strike
	How    uint64        `json:"how"`    // varies what the kind does
	Hold   time.Duration `json:"hold"`   // how long it lasts
}

func (f fault) String() string {
	return fmt.Sprintf("%d: %s in %s %s, after %d ended, victim %d, how %d, for %v", f.N, f.Kind, f.Column, f.Point, f.After, f.Victim%1000, f.How%1000, f.Hold)
}

// maxAfter bounds how many executions end between two faults.
const maxAfter = 30

// One fault in so many lasts so much longer: beyond leases, polls that are due, and what gateways and agents wait for an answer.
const (
	longEvery = 40
	longHold  = 8 * time.Second
)

// losing is for how long what is written is lost.
func (f fault) losing() time.Duration { return min(f.Hold, time.Second) }

// schedule draws faults, without end.
type schedule struct {
	rand    *rand.Rand
	kinds   []string
	deck    []fault    // what is left of a round: each kind once
	columns [][]column // by kind: in which it has not struck yet
	n       int
}

func newSchedule(seed uint64, kinds []string) *schedule {
	return &schedule{rand: rand.New(rand.NewPCG(seed, 2)), kinds: kinds, columns: make([][]column, len(kinds))}
}

func (s *schedule) next() fault {
	if len(s.deck) == 0 {
		for i, k := range s.kinds {
			if len(s.columns[i]) == 0 {
				s.columns[i] = columns()
				s.rand.Shuffle(len(s.columns[i]), func(a, b int) { c := s.columns[i]; c[a], c[b] = c[b], c[a] })
			}
			s.deck = append(s.deck, fault{Kind: k, Column: s.columns[i][0]})
			s.columns[i] = s.columns[i][1:]
		}
		s.rand.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	f := s.deck[0]
	s.deck = s.deck[1:]
	s.n++
	f.N = s.n
	if p := points[f.Column]; p != nil {
		f.Point = p[s.rand.IntN(len(p))]
	}
	f.After = s.rand.IntN(maxAfter)
	f.Victim, f.How = s.rand.Uint64()>>1, s.rand.Uint64()>>1
	f.Hold = time.Duration(20+s.rand.IntN(700)) * time.Millisecond
	if s.rand.IntN(longEvery) == 0 {
		f.Hold += longHold
	}
	return f
}

// chooseKinds gives the names of the kinds that a configuration has, or those of them that it asks for.
func chooseKinds(c Config) ([]string, error) {
	var all []string
	for _, k := range kinds() {
		switch {
		case k.redis && c.Store != Redis:
		case k.sqlite && c.Store != SQLite:
		case k.real && c.Real == 0:
		case k.name == kindClock && c.WrongClock == "":
		case k.disk && !c.Disks:
		default:
			all = append(all, k.name)
		}
	}
	if len(c.Kinds) == 0 {
		return all, nil
	}
	for _, name := range c.Kinds {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no fault %q here; there are: %s", name, strings.Join(all, ", "))
		}
	}
	return c.Kinds, nil
}
