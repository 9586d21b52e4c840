package gateway

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Bounds of the watches of a gateway.
const (
	MaxWatches     = 2000
	MaxWatchesEach = 200 // of one operator
)

// seats are for the watches of a gateway. The zero value is ready.
type seats struct {
	mu     sync.Mutex // guards what follows
	each   map[string]int
	taken  int
	closed bool
	wait   sync.WaitGroup
}

type seat struct {
	of      *seats
	subject string
}

// take gives a seat, to be left again. Errors: overloaded, rate_limited, draining.
func (s *seats) take(subject string) (*seat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, &refusal{code: codeDraining, retry: time.Second, detail: "this gateway is going; ask again, at another if there is one"}
	case s.taken >= MaxWatches:
		return nil, &refusal{code: codeOverloaded, retry: 10 * time.Second, detail: "this gateway has no room for another live view now"}
	case s.each[subject] >= MaxWatchesEach:
		return nil, &refusal{code: codeRateLimited, retry: 10 * time.Second, detail: "too many live views are open for this operator; close some"}
	}
	if s.each == nil {
		s.each = map[string]int{}
	}
	s.each[subject]++
	s.taken++
	s.wait.Add(1)
	return &seat{of: s, subject: subject}, nil
}

func (k *seat) leave() {
	s := k.of
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.each[k.subject]--; s.each[k.subject] == 0 {
		delete(s.each, k.subject)
	}
	s.taken--
	s.wait.Done()
}

// close lets nobody in any more.
func (s *seats) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// comeBack draws when a watch that is sent away may come back: all of them spread over a time by their
// number.
func (s *seats) comeBack() time.Duration {
	s.mu.Lock()
	n := s.taken
	s.mu.Unlock()
	return rand.N(max(2*time.Second, time.Duration(n)*time.Second/watchesBack))
}

// watchesBack is how many watches come back in a second after a drain.
const watchesBack = 100
