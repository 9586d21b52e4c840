// Package keeper does a gateway's duties in the background: it releases the targets
// of submitted jobs to their hosts, takes up jobs that another gateway left half
// released, does what time does (leases, expiries, silence, retention), and
// checks counters against records.
//
// All of it may run on any number of gateways of a store at once, and none of
// it is lost when a gateway goes: what is left to do is in the store, and
// another gateway's next look finds it.
package keeper

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Store is the part of the store that a keeper needs.
type Store interface {
	Expand(ctx context.Context, job queue.JobID, driver string, max int) (queue.Expansion, error)
	OpenJobs(ctx context.Context, limit int) ([]queue.JobID, error)
	Sweep(ctx context.Context, budget int, r queue.Retention) (queue.Swept, error)
	Reconcile(ctx context.Context, budget int) ([]string, error)
}

// Config says how a keeper works. Zero values take the defaults.
type Config struct {
	Driver    string // names this keeper to the store: unique among those alive
	Retention queue.Retention

	Drivers int // jobs that are released at the same time; default 4
	Step    int // targets that one step releases; default 1000
	Waiting int // submitted jobs that may wait for a driver; default 1024

	Look           time.Duration // between looks for open jobs; default 2 s
	Sweep          time.Duration // between sweeps; default 2 s
	SweepBudget    int           // executions of a sweep; default 2000
	Reconcile      time.Duration // between reconciliations; default 5 min
	ReconcileJobs  int           // jobs of a reconciliation; default 20
	Swept          func(queue.Swept)
	Repaired       func(n int)
	Log            *slog.Logger
	attemptTimeout time.Duration
}

func (c Config) withDefaults() Config {
	setInt(&c.Drivers, 4)
	setInt(&c.Step, 1000)
	setInt(&c.Waiting, 1024)
	setInt(&c.SweepBudget, 2000)
	setInt(&c.ReconcileJobs, 20)
	setDuration(&c.Look, 2*time.Second)
	setDuration(&c.Sweep, 2*time.Second)
	setDuration(&c.Reconcile, 5*time.Minute)
	setDuration(&c.attemptTimeout, 30*time.Second)
	if c.Swept == nil {
		c.Swept = func(queue.Swept) {}
	}
	if c.Repaired == nil {
		c.Repaired = func(int) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setInt(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

func setDuration(v *time.Duration, d time.Duration) {
	if *v == 0 {
		*v = d
	}
}

// Keeper does the duties. Make it with New.
type Keeper struct {
	store   Store
	c       Config
	jobs    *ring
	trouble struct { // what is going wrong now, so that an outage is logged once
		sync.Mutex
		duties map[string]bool
	}
}

// New makes a keeper; Run does its work.
func New(store Store, c Config) *Keeper {
	c = c.withDefaults()
	k := &Keeper{store: store, c: c, jobs: newRing(c.Waiting)}
	k.trouble.duties = map[string]bool{}
	return k
}

// Submitted tells that a job waits to be released, or a cancel to be finished. It never
// blocks. If too many wait already, the next look at the store finds it.
func (k *Keeper) Submitted(job queue.JobID) { k.jobs.add(job) }

// Run does the duties until ctx ends, and returns when all have stopped.
func (k *Keeper) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for range k.c.Drivers {
		wg.Go(func() { k.drive(ctx) })
	}
	wg.Go(func() { every(ctx, k.c.Look, k.look) })
	wg.Go(func() { every(ctx, k.c.Sweep, k.sweep) })
	wg.Go(func() { every(ctx, k.c.Reconcile, k.reconcile) })
	wg.Wait()
}

// every calls f now and then at the interval.
func every(ctx context.Context, interval time.Duration, f func(context.Context)) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for ctx.Err() == nil {
		f(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// look takes up open jobs.
func (k *Keeper) look(ctx context.Context) {
	var open []queue.JobID
	err := k.attempt(ctx, func(ctx context.Context) (err error) {
		open, err = k.store.OpenJobs(ctx, k.c.Waiting)
		return err
	})
	k.report(ctx, "look for open jobs", err)
	for _, job := range open {
		k.jobs.add(job)
	}
}

// drive releases jobs, one step of one job at a time, so that a large job
// doesn't make small ones wait.
func (k *Keeper) drive(ctx context.Context) {
	for {
		job, ok := k.jobs.take(ctx)
		if !ok {
			return
		}
		var x queue.Expansion
		err := k.attempt(ctx, func(ctx context.Context) (err error) {
			x, err = k.store.Expand(ctx, job, k.c.Driver, k.c.Step)
			return err
		})
		if queue.CodeOf(err) == queue.NotFound {
			err = nil // removed by retention meanwhile
			x.Done = true
		}
		k.report(ctx, "release a job's targets", err)
		// On an error, or where another gateway drives, or where nothing can be released
		// now, the next look takes the job up again if it is still open.
		k.jobs.done(job, err == nil && !x.Done && !x.Busy && x.Released+x.Passed > 0)
	}
}

// sweep does what is due. Under a backlog it goes on at once, within bounds, so that
// sweeps of other gateways get their turn.
func (k *Keeper) sweep(ctx context.Context) {
	for range 20 {
		var swept queue.Swept
		err := k.attempt(ctx, func(ctx context.Context) (err error) {
			swept, err = k.store.Sweep(ctx, k.c.SweepBudget, k.c.Retention)
			return err
		})
		k.report(ctx, "sweep", err)
		if err != nil {
			return
		}
		k.c.Swept(swept)
		if swept.Lost > 0 {
			k.c.Log.Warn("executions lost by silence", "count", swept.Lost)
		}
		if !swept.More {
			return
		}
	}
}

func (k *Keeper) reconcile(ctx context.Context) {
	var repairs []string
	err := k.attempt(ctx, func(ctx context.Context) (err error) {
		repairs, err = k.store.Reconcile(ctx, k.c.ReconcileJobs)
		return err
	})
	k.report(ctx, "reconcile", err)
	k.c.Repaired(len(repairs))
	for _, line := range repairs {
		k.c.Log.Warn("repaired a difference between records and what is derived from them", "difference", line)
	}
}

func (k *Keeper) attempt(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.c.attemptTimeout)
	defer cancel()
	return f(ctx)
}

// report logs when a duty begins to fail and when it works again.
func (k *Keeper) report(ctx context.Context, duty string, err error) {
	if ctx.Err() != nil {
		return // cut by the end
	}
	k.trouble.Lock()
	before := k.trouble.duties[duty]
	k.trouble.duties[duty] = err != nil
	k.trouble.Unlock()
	switch {
	case err != nil && !before:
		k.c.Log.Error("a background duty fails", "duty", duty, "err", err)
	case err == nil && before:
		k.c.Log.Info("a background duty works again", "duty", duty)
	}
}
