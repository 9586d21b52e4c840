package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// violation is a promise that was not kept.
type violation struct {
	Rule string // of the checker
	Of   string // job or execution, "" = of the whole
	What string
}

func (v violation) String() string { return fmt.Sprintf("%s: %s %s", v.Rule, v.Of, v.What) }

// strike is a fault as it really struck.
type strike struct {
	fault
	Name  string    `json:"victim_name"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
	Hosts []string  `json:"hosts,omitempty"` // nil = all
	Ends  []string  `json:"ends,omitempty"`  // whose scripts it may have ended besides
	Held  string    `json:"held,omitempty"`  // the execution that was in the trap
	Err   string    `json:"err,omitempty"`
	// Missed says that there was nothing to strike.
	Missed bool `json:"missed,omitempty"`

	struck map[column]int // executions, by what they were
}

// say tells how far the run is.
func (r *run) say(format string, args ...any) {
	n, _ := r.load.progress()
	fmt.Fprintf(r.cfg.Log, "%6.1fs, %d ended: %s\n", time.Since(r.begun).Seconds(), n, fmt.Sprintf(format, args...))
}

// maxViolations bounds how many are kept.
const maxViolations = 200

// run is a run under way.
type run struct {
	w     *world
	cfg   Config
	names []string // of kinds
	load  *load
	begun time.Time

	mu         sync.Mutex // guards the following
	violations []violation
	total      int
	strikes    []*strike
	notes      []string
	seen       int // executions that were checked
}

func (r *run) note(v violation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total++; len(r.violations) < maxViolations {
		r.violations = append(r.violations, v)
		fmt.Fprintf(r.cfg.Log, "VIOLATION %s\n", v)
	}
}

func (r *run) remark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// atOnce is how many faults may last at the same time.
const atOnce = 5

// Run puts a world up, has faults strike it, lets it heal, and checks it: once, or in rounds with a new world each. An error says that the
// run couldn't be made; what it found is in the result.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.complete(); err != nil {
		return Result{}, err
	}
	names, err := chooseKinds(c)
	if err != nil {
		return Result{}, err
	}
	all := newTally(names)
	for left := c.For; left > 0 && err == nil; {
		one := c
		if one.For = left; left >= c.Round*3/2 {
			one.For = c.Round
		}
		left -= one.For
		one.Seed = c.Seed + uint64(all.rounds)
		one.Dir = filepath.Join(c.Dir, fmt.Sprintf("seed-%d", one.Seed))
		if err := os.Mkdir(one.Dir, 0o755); err != nil {
			return all.result(), err
		}
		before := all.total
		if err = round(ctx, one, names, all); err == nil && all.total == before && !c.Keep {
			err = os.RemoveAll(one.Dir)
		}
	}
	return all.result(), err
}

// round is a whole run in one world.
func round(ctx context.Context, c Config, names []string, all *tally) error {
	fmt.Fprintf(c.Log, "seed %d, store %s, for %v: %d light hosts in %d crews, %d real ones, %d kinds of faults\n", c.Seed, c.Store, c.For, c.Light, c.Crews, c.Real, len(names))
	start, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := newWorld(start, c)
	if err != nil {
		return err
	}
	defer w.abandon()
	r := &run{w: w, cfg: c, names: names, begun: time.Now()}
	r.load = newLoad(w, c.Seed, r.note)

	watching, endWatch := context.WithCancel(ctx)
	defer endWatch()
	var wg sync.WaitGroup
	wg.Go(func() { r.load.watch(watching) })
	wg.Go(func() { r.manage(watching) })
	loading, endLoad := context.WithCancel(ctx)
	defer endLoad()
	var loaders sync.WaitGroup
	loaders.Go(func() { r.load.run(loading) })

	err = r.strikeAll(ctx, newSchedule(c.Seed, names))
	endLoad()
	loaders.Wait()
	if err == nil {
		r.say("%d faults have healed; what is under way is to end", len(r.strikes))
		tell := func(open string) { r.say("waiting for%s", open) }
		r.load.finish(ctx, tell)
		if w.redis != nil && all.rounds == 0 {
			r.say("a last job, of which no hint arrives")
			r.load.unhinted(ctx, tell)
		}
	}
	endWatch()
	wg.Wait()
	r.say("looking at what is left")
	if err == nil && ctx.Err() == nil {
		err = r.check(ctx)
	}
	all.add(r)
	return errors.Join(err, ctx.Err(), r.write())
}

// strikeAll has faults strike until the time is over, and returns when all have healed.
func (r *run) strikeAll(ctx context.Context, s *schedule) error {
	end := time.Now().Add(r.cfg.For)
	slots := make(chan struct{}, atOnce)
	tell := time.Now()
	healing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	last := 0
	for healing.Err() == nil && (time.Now().Before(end) || time.Now().Before(end.Add(r.cfg.Longer)) && !r.enough()) {
		if time.Since(tell) > time.Minute {
			tell = time.Now()
			r.say("%d faults", s.n)
		}
		f := s.next()
		last = r.await(healing, last+f.After)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.one(healing, f); err != nil {
				cancel(fmt.Errorf("fault %v: %w", f, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(healing); err != nil {
		return err
	}
	for _, v := range r.w.reals { // the last word on their clocks
		if err := r.rightClock(v); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) rightClock(v *real) error {
	v.busy.Lock()
	defer v.busy.Unlock()
	if v.path == r.cfg.Rexagent {
		return nil
	}
	v.kill()
	v.path, v.env = r.cfg.Rexagent, nil
	return v.start()
}

// await waits until so many executions have ended, or nothing has for a while: then the faults under way hold them up.
func (r *run) await(ctx context.Context, ended int) int {
	for {
		n, news := r.load.progress()
		if n >= ended {
			return n
		}
		t := time.NewTimer(time.Second)
		select {
		case <-news:
			t.Stop()
			continue
		case <-t.C:
			return n
		case <-ctx.Done():
			t.Stop()
			return n
		}
	}
}

// enough tells whether each kind has struck, and each state was looked for often enough to have been met.
func (r *run) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds, cols := map[string]bool{}, map[column]int{}
	for _, st := range r.strikes {
		if !st.Missed {
			kinds[st.Kind] = true
			cols[st.Column]++
		}
	}
	for _, c := range columns() {
		if cols[c] < 8 {
			return false
		}
	}
	return len(kinds) == len(r.names)
}

// choose gives a victim of a kind, locked: the one that the fault names, or another that no fault is at.
func (r *run) choose(k kind, f fault) victim {
	for n := range uint64(8) {
		g := f
		g.Victim += n
		if v := k.on(r.w, g); v.busy.TryLock() {
			return v
		}
	}
	v := k.on(r.w, f)
	v.busy.Lock()
	return v
}

// one has one fault strike, last and heal.
func (r *run) one(ctx context.Context, f fault) error {
	k := findKind(f.Kind)
	v := r.choose(k, f)
	defer v.busy.Unlock()
	st := &strike{fault: f, Name: v.name, Hosts: v.hosts, Ends: v.ends}
	var undo func(context.Context) error
	var err error
	if k.prepare != nil {
		err = k.prepare(ctx, r, f, v)
	}
	st.At = time.Now()
	if err == nil {
		release := r.lure(ctx, f, v, st)
		v.held = st.Held
		st.At = time.Now()
		undo, err = k.strike(ctx, r, f, v)
		release()
	}
	if err != nil && !errors.Is(err, errNothing) {
		return err
	}
	if err == nil && undo != nil {
		if err := pause(ctx, f.Hold); err != nil {
			return err
		}
	}
	if undo != nil {
		heal, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := undo(heal); err != nil {
			return err
		}
	}
	if st.Until = time.Now(); err != nil {
		st.Missed, st.Err = true, err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strikes = append(r.strikes, st)
	return nil
}

// write leaves what the run knows beside the logs.
func (r *run) write() error {
	return errors.Join(
		writeJSON(filepath.Join(r.cfg.Dir, "strikes.json"), r.strikes),
		writeJSON(filepath.Join(r.cfg.Dir, "orders.json"), r.load.orders),
	)
}
