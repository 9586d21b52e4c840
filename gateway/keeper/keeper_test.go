package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// scripted is a store whose answers a test sets; what is under test is the
// keeper's pace and order, in a bubble of time.
type scripted struct {
	mu      sync.Mutex
	left    map[queue.JobID]int
	busy    map[queue.JobID]bool
	steps   []queue.JobID
	sweeps  []time.Time
	more    int
	away    bool
	repairs []string
	passes  bool // targets end instead of being released
	inStep  map[queue.JobID]int
}

func (s *scripted) Expand(_ context.Context, job queue.JobID, driver string, max int) (queue.Expansion, error) {
	s.mu.Lock()
	s.inStep[job]++
	twice := s.inStep[job] > 1
	s.mu.Unlock()
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inStep[job]--
	if twice {
		return queue.Expansion{}, errors.New("two drivers of one keeper on a job")
	}
	if s.away {
		return queue.Expansion{}, queue.Errorf(queue.Unavailable, "away")
	}
	if s.busy[job] {
		return queue.Expansion{Busy: true}, nil
	}
	s.steps = append(s.steps, job)
	n := min(max, s.left[job])
	s.left[job] -= n
	if s.passes {
		return queue.Expansion{Passed: n, Done: s.left[job] == 0}, nil
	}
	return queue.Expansion{Released: n, Done: s.left[job] == 0}, nil
}

func (s *scripted) OpenJobs(context.Context, int) ([]queue.JobID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, queue.Errorf(queue.Unavailable, "away")
	}
	var open []queue.JobID
	for job, n := range s.left {
		if n > 0 {
			open = append(open, job)
		}
	}
	slices.Sort(open)
	return open, nil
}

func (s *scripted) Sweep(context.Context, int, queue.Retention) (queue.Swept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweeps = append(s.sweeps, time.Now())
	if s.away {
		return queue.Swept{}, queue.Errorf(queue.Unavailable, "away")
	}
	s.more--
	return queue.Swept{More: s.more >= 0}, nil
}

func (s *scripted) Reconcile(context.Context, int) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repairs, nil
}

func (s *scripted) leftOf(job queue.JobID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left[job]
}

func newScripted() *scripted {
	return &scripted{left: map[queue.JobID]int{}, busy: map[queue.JobID]bool{}, inStep: map[queue.JobID]int{}}
}

func running(t *testing.T, s *scripted, c Config) (*Keeper, func()) {
	t.Helper()
	k := New(s, c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	synctest.Wait()
	return k, func() { cancel(); <-ended }
}

func TestSubmittedIsReleasedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		k, stop := running(t, s, Config{})
		defer stop()
		time.Sleep(time.Second)
		s.mu.Lock()
		s.left["a"] = 2500
		s.mu.Unlock()
		k.Submitted("a")
		k.Submitted("a")
		time.Sleep(10 * time.Millisecond)
		if n := s.leftOf("a"); n != 0 {
			t.Errorf("%d targets are left", n)
		}
	})
}

func TestWhatReleasesNothingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		s.passes = true // as where all hosts are offline, and skipped
		k, stop := running(t, s, Config{})
		defer stop()
		time.Sleep(time.Second)
		s.mu.Lock()
		s.left["a"] = 2500
		s.mu.Unlock()
		k.Submitted("a")
		time.Sleep(10 * time.Millisecond)
		if n := s.leftOf("a"); n != 0 {
			t.Errorf("%d targets are left", n)
		}
	})
}

func TestOpenJobsAreTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		s.left["left behind"] = 10
		s.left["driven elsewhere"], s.busy["driven elsewhere"] = 10, true
		_, stop := running(t, s, Config{})
		defer stop()
		time.Sleep(time.Second)
		if s.leftOf("left behind") != 0 || s.leftOf("driven elsewhere") != 10 {
			t.Errorf("left: %v", s.left)
		}
		s.mu.Lock()
		s.busy["driven elsewhere"] = false // its driver went silent
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		if s.leftOf("driven elsewhere") != 0 {
			t.Errorf("left: %v", s.left)
		}
	})
}

func TestLargeJobDoesNotDelaySmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		k, stop := running(t, s, Config{Drivers: 1, Step: 10})
		defer stop()
		s.mu.Lock()
		s.left["large"] = 10_000
		s.mu.Unlock()
		k.Submitted("large")
		time.Sleep(50 * time.Millisecond)
		s.mu.Lock()
		s.left["small"] = 10
		s.mu.Unlock()
		k.Submitted("small")
		time.Sleep(5 * time.Millisecond)
		if s.leftOf("small") != 0 || s.leftOf("large") == 0 {
			t.Errorf("left: %v", s.left)
		}
		time.Sleep(2 * time.Second)
		if s.leftOf("large") != 0 {
			t.Errorf("left: %v", s.left)
		}
	})
}

func TestMoreThanFitIsFoundLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		k, stop := running(t, s, Config{Waiting: 3, Drivers: 1})
		defer stop()
		s.mu.Lock()
		for i := range 50 {
			s.left[queue.JobID(fmt.Sprint(i))] = 1500
		}
		s.mu.Unlock()
		for i := range 50 {
			k.Submitted(queue.JobID(fmt.Sprint(i)))
		}
		time.Sleep(2 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		for job, n := range s.left {
			if n != 0 {
				t.Errorf("%s has %d left", job, n)
			}
		}
		k.jobs.mu.Lock()
		defer k.jobs.mu.Unlock()
		if len(k.jobs.known) != 0 || len(k.jobs.line) != 0 || len(k.jobs.wake) != 0 {
			t.Errorf("left in line: %v %v %d", k.jobs.known, k.jobs.line, len(k.jobs.wake))
		}
	})
}

func TestSweepsGoOnUnderBacklogAndOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		s.more = 5
		var log bytes.Buffer
		_, stop := running(t, s, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		s.mu.Lock()
		if len(s.sweeps) != 6 {
			t.Errorf("%d sweeps at once, want 6", len(s.sweeps))
		}
		s.away = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		time.Sleep(5 * time.Second)
		stop()
		if n := strings.Count(log.String(), "duty=sweep"); n != 2 {
			t.Errorf("an outage is told %d times, want once at its begin and once at its end:\n%s", n, log.String())
		}
		for i := range s.sweeps[1:] {
			if d := s.sweeps[i+1].Sub(s.sweeps[i]); d > 3*time.Second {
				t.Errorf("no sweep for %v", d)
			}
		}
	})
}

func TestRepairsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted()
		s.repairs = []string{"job x: counter queued was 3, is 2"}
		var log bytes.Buffer
		repaired := 0
		_, stop := running(t, s, Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Repaired: func(n int) { repaired += n }})
		stop()
		if !strings.Contains(log.String(), "counter queued was 3") || repaired != 1 {
			t.Errorf("%d repaired, log: %s", repaired, log.String())
		}
	})
}
