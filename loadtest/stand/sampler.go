package stand

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// Target is a process to sample. With a PID it is read from /proc; without, from Metrics or Redis. If it
// has several, the others are asked at the ends of phases, for what only they know.
type Target struct {
	Role     string // of report's roles
	PID      int
	Children bool   // count the CPU time of its children, too, once they have ended
	Metrics  string // URL of a gateway's admin listener
	Redis    string // host:port
	Password string // of Redis
}

// Sampling defaults and bounds.
const (
	DefaultInterval = 250 * time.Millisecond

	remoteInterval = time.Second     // those who are asked over a connection are asked no more often
	remoteTimeout  = 5 * time.Second // for an answer
	maxTicks       = 4096            // kept; when there are more, every second one is dropped
)

// Sampler reads what processes use, at an interval, by phases of a run. Make it with StartSampler. One
// goroutine owns all of it until Stop; the methods have it work for them, and wait.
type Sampler struct {
	interval time.Duration
	root     string // /proc
	client   *http.Client
	calls    chan call
	stopped  chan struct{}

	targets []*target
	machine machine // the last
	ticks   []sample
	sparse  int // only each so-manieth tick is kept
	skipped int
	phases  []phase
	faults  map[string]report.Error
}

// call is something to do for a caller.
type call struct {
	do   func()
	done chan struct{}
	last bool
}

// target is a Target and what was read of it.
type target struct {
	Target
	last  reading
	first reading // when it was added, or started anew
	past  reading // CPU time of its earlier lives
	asked time.Time
	known bool // it was read at least once
	gone  bool
}

// used is the CPU time since the target was added.
func (t *target) used() (user, system time.Duration) {
	return t.past.user + t.last.user - t.first.user, t.past.system + t.last.system - t.first.system
}

// sample is what the roles had used at a moment, and had.
type sample struct {
	at      time.Time
	roles   map[string]usage
	machine machine
}

// usage is the sum of a role's processes.
type usage struct {
	count        int
	user, system time.Duration // since they were added
	rss, pss     int64
	threads      int
	descriptors  int
	more         map[string]float64
}

// phase is a part of the run.
type phase struct {
	name       string
	begin, end sample
	peak       map[string]int64 // RSS by role
	sockets    sockets
}

func newPhase(name string, begin sample) phase {
	p := phase{name: name, begin: begin, peak: map[string]int64{}}
	p.raise(begin)
	return p
}

// raise raises the peaks to what a sample shows.
func (p *phase) raise(now sample) {
	for role, u := range now.roles {
		p.peak[role] = max(p.peak[role], u.rss)
	}
}

// StartSampler begins to sample, in a first phase of this name. interval <= 0 is the default. Stop ends it.
// It is an error if one of the targets can't be read.
func StartSampler(ctx context.Context, interval time.Duration, phase string, targets ...Target) (*Sampler, error) {
	s := newSampler("/proc", interval)
	if err := s.begin(ctx, phase, targets); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

func newSampler(root string, interval time.Duration) *Sampler {
	if interval <= 0 {
		interval = DefaultInterval
	}
	return &Sampler{interval: interval, root: root, client: &http.Client{Transport: &http.Transport{}, Timeout: remoteTimeout},
		calls: make(chan call), stopped: make(chan struct{}), sparse: 1, faults: map[string]report.Error{}}
}

func (s *Sampler) begin(ctx context.Context, name string, targets []Target) error {
	for _, t := range targets {
		if err := s.add(ctx, t); err != nil {
			return err
		}
	}
	s.phases = []phase{newPhase(name, s.read(ctx, true))}
	return nil
}

// run samples, and does what callers ask for, until the last call.
func (s *Sampler) run() {
	defer close(s.stopped)
	defer s.client.CloseIdleConnections()
	t := time.NewTicker(s.interval)
	defer t.Stop()
	for {
		select {
		case c := <-s.calls:
			c.do()
			close(c.done)
			if c.last {
				return
			}
		case <-t.C:
			s.keep(s.read(context.Background(), false)) // bounded by remoteTimeout
		}
	}
}

// call has the goroutine do something, and returns when it is done; nothing is done after Stop.
func (s *Sampler) call(last bool, do func()) {
	c := call{do: do, done: make(chan struct{}), last: last}
	select {
	case s.calls <- c:
		<-c.done
	case <-s.stopped:
	}
}

// Add samples one more process from now on. Its CPU time counts from here. After Stop it is an error.
func (s *Sampler) Add(ctx context.Context, t Target) error {
	err := errors.New("the sampler has stopped")
	s.call(false, func() { err = s.add(ctx, t) })
	return err
}

func (s *Sampler) add(ctx context.Context, t Target) error {
	n := &target{Target: t}
	if err := s.readTarget(ctx, n, true); err != nil {
		return fmt.Errorf("sampling the %s: %w", t.Role, err)
	}
	s.targets = append(s.targets, n)
	return nil
}

// Phase ends the phase and begins another. It reads all processes for that, exactly, which may take
// some milliseconds of each; of those elsewhere, up to five seconds if they don't answer.
func (s *Sampler) Phase(ctx context.Context, name string) {
	s.call(false, func() {
		end := s.endPhase(ctx)
		s.phases = append(s.phases, newPhase(name, end))
	})
}

// Stop ends the last phase and the sampling. Stopping again does nothing.
func (s *Sampler) Stop(ctx context.Context) {
	s.call(true, func() { s.endPhase(ctx) })
	<-s.stopped
}

// endPhase reads everything for the end of the last phase.
func (s *Sampler) endPhase(ctx context.Context) sample {
	p := &s.phases[len(s.phases)-1]
	p.end = s.read(ctx, true)
	s.keep(p.end)
	var err error
	if p.sockets, err = readSockets(s.root); err != nil {
		s.fault("kernel", err)
	}
	return p.end
}

// keep notes a sample for the series and the peaks.
func (s *Sampler) keep(now sample) {
	s.phases[len(s.phases)-1].raise(now)
	if s.skipped++; s.skipped < s.sparse {
		return
	}
	s.skipped = 0
	if len(s.ticks) >= maxTicks {
		// CPU time is kept as the sum so far, so that nothing of it goes with a tick.
		for i := range len(s.ticks) / 2 {
			s.ticks[i] = s.ticks[2*i+1]
		}
		s.ticks = s.ticks[:len(s.ticks)/2]
		s.sparse *= 2
	}
	s.ticks = append(s.ticks, now)
}

// read reads all targets; exactly, if a phase ends.
func (s *Sampler) read(ctx context.Context, exact bool) sample {
	var wg sync.WaitGroup
	errs := make([]error, len(s.targets))
	for i, t := range s.targets {
		if t.PID > 0 && !exact {
			errs[i] = s.readTarget(ctx, t, false)
			continue
		}
		wg.Go(func() { errs[i] = s.readTarget(ctx, t, exact) })
	}
	wg.Wait()
	now := sample{at: time.Now(), roles: map[string]usage{}}
	for i, t := range s.targets {
		if errs[i] != nil && ctx.Err() == nil {
			s.fault(t.Role, errs[i])
		}
		u := now.roles[t.Role]
		user, system := t.used()
		u.user, u.system = u.user+user, u.system+system
		if !t.gone {
			u.add(t.last)
		}
		now.roles[t.Role] = u
	}
	var err error
	if now.machine, err = readMachine(s.root); err != nil {
		s.fault("machine", err)
		now.machine = s.machine
	}
	s.machine = now.machine
	return now
}

// add adds what a process has.
func (u *usage) add(r reading) {
	u.count++
	u.rss, u.pss = u.rss+r.rss, u.pss+r.pss
	u.threads, u.descriptors = u.threads+r.threads, u.descriptors+r.descriptors
	for name, v := range r.more {
		if u.more == nil {
			u.more = map[string]float64{}
		}
		u.more[name] += v
	}
}

// fault notes that something couldn't be read.
func (s *Sampler) fault(what string, err error) {
	e := s.faults[what]
	e.Reason, e.Example = "not sampled: "+what, err.Error()
	e.Count++
	s.faults[what] = e
}

// readTarget reads a process. One that has ended is no error: it keeps the CPU time that was seen.
func (s *Sampler) readTarget(ctx context.Context, t *target, exact bool) error {
	if t.PID <= 0 && !exact && time.Since(t.asked) < remoteInterval {
		return nil
	}
	t.asked = time.Now()
	r, err := s.readOne(ctx, t.Target, exact)
	if errors.Is(err, errGone) && t.known {
		t.gone = true
		return nil
	}
	// What /proc says counts, also where the process itself didn't answer.
	if err != nil && (r.start == 0 || !t.known) {
		return err
	}
	switch {
	case !t.known:
		t.first = r
	case r.start != t.last.start && t.PID > 0:
		t.gone = true // its number is somebody else's now
		return err
	case r.start != t.last.start:
		// A server elsewhere was started anew, and counts from zero.
		user, system := t.used()
		t.past, t.first = reading{user: user, system: system}, reading{}
	}
	t.known, t.last = true, r
	return err
}

// readOne reads a process by all ways that there are.
func (s *Sampler) readOne(ctx context.Context, t Target, exact bool) (r reading, err error) {
	switch {
	case t.PID > 0:
		if r, err = readProcess(s.root, t.PID, t.Children); err != nil || !exact {
			return r, err
		}
		r.readMemory(s.root, t.PID)
	case t.Metrics == "" && t.Redis == "":
		return r, errors.New("there is neither a process nor an address to ask")
	}
	var said reading
	switch {
	case t.Metrics != "":
		said, err = readMetrics(ctx, s.client, t.Metrics)
	case t.Redis != "":
		said, err = readRedis(ctx, t.Redis, t.Password)
	}
	if t.PID > 0 {
		r.more = said.more
		return r, err
	}
	return said, err
}
