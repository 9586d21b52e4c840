package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// checker compares what is stored with what is known otherwise.
type checker struct {
	r     *run
	store queue.Store
	ran   map[string]*ran
	jobs  map[queue.JobID]*order
	// struck are the strikes by host; "" those of all.
	struck map[string][]*strike
	beside map[string][]*strike // those that ended its scripts beside what they struck
	seen   int                  // executions
	made   map[queue.JobID]*queue.Job
	keyed  map[string][]keyed // by key and host
	// unknown counts scripts that were started twice since nobody knew of the first time.
	unknown int
}

// check ends the world part by part, and looks at what is left.
func (r *run) check(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.say("comparing records, output and trace")
	store, err := r.cfg.OpenStore(ctx, r.w.storeAt())
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	defer store.Close()
	c := &checker{r: r, store: store, jobs: map[queue.JobID]*order{}, struck: map[string][]*strike{}, beside: map[string][]*strike{}, made: map[queue.JobID]*queue.Job{}, keyed: map[string][]keyed{}}
	if c.ran, err = readTrace(r.w.trace); err != nil {
		return err
	}
	for _, st := range r.strikes {
		if st.Hosts == nil {
			c.struck[""] = append(c.struck[""], st)
		}
		for _, h := range st.Hosts {
			c.struck[h] = append(c.struck[h], st)
		}
		for _, h := range st.Ends {
			c.beside[h] = append(c.beside[h], st)
		}
	}
	for _, o := range r.load.orders {
		if o.ID != "" {
			c.jobs[queue.JobID(o.ID)] = o
		}
	}
	if err := c.jobsStored(ctx); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(c.jobs)) {
		if err := c.job(ctx, c.jobs[id]); err != nil {
			return err
		}
	}
	c.strays()
	c.superseding()
	if err := c.derived(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = c.seen
	if c.unknown > 0 {
		r.notes = append(r.notes, fmt.Sprintf("%d scripts were started twice: a failover lost the store's record, and the host lost its state", c.unknown))
	}
	return nil
}

func (c *checker) bad(rule, of, format string, args ...any) {
	c.r.note(violation{rule, of, fmt.Sprintf(format, args...)})
}

// excused tells whether a failover may have lost what was acknowledged.
func (c *checker) excused(s span) bool {
	c.r.load.mu.Lock()
	defer c.r.load.mu.Unlock()
	return c.r.load.excusedLocked(s)
}

// rolledBack tells whether a failover was between two times: what happened by then may have gone and come again.
func (c *checker) rolledBack(from, to time.Time) bool {
	for _, w := range c.r.load.windows {
		if w.From.Before(to) && w.To.After(from) {
			return true
		}
	}
	return false
}
