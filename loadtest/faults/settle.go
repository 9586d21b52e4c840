package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settle ends hosts and gateways in good order, once nothing is under way, and looks for what they leave behind.
func (r *run) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := r.idle(ctx); err != nil {
		return err
	}
	if err := r.w.stopHosts(ctx); err != nil {
		r.note(violation{"ends in good order", "", err.Error()})
	}
	if err := r.bare(ctx); err != nil {
		return err
	}
	if err := r.calm(ctx); err != nil {
		return err
	}
	for _, g := range r.w.gateways {
		stop, cancel := context.WithTimeout(ctx, 30*time.Second)
		if err := g.stop(stop); err != nil {
			r.note(violation{"ends in good order", "", err.Error()})
		}
		cancel()
	}
	if err := r.gone(ctx, "once all had been told to end"); err != nil {
		return err
	}
	lines, err := faultsInLogs(r.w.logs)
	for _, line := range lines {
		if !r.mended(line) {
			r.note(violation{"logs", "", line})
		}
	}
	return err
}

// mended tells whether a line is of the repair of what a failover took.
func (r *run) mended(line string) bool {
	return len(r.load.windows) > 0 && slices.ContainsFunc([]string{"were to be released by nobody", "its record is lost", "had lost its"}, func(text string) bool {
		return strings.Contains(line, text)
	})
}

// settleFor is how long something may take that needs nothing but time.
const settleFor = 45 * time.Second

// until asks again and again, for what nobody tells.
func until(ctx context.Context, ask func() (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	for {
		ok, err := ask()
		if ok || err != nil {
			return ok, err
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return false, nil
		}
	}
}

// idle waits until no agent has anything in hand.
func (r *run) idle(ctx context.Context) error {
	busy := 0
	ok, err := until(ctx, func() (bool, error) {
		busy = 0
		for _, c := range r.w.crews {
			n, err := c.counts(ctx)
			if err != nil {
				return false, fmt.Errorf("%s doesn't answer: %w", c.name, err)
			}
			busy += n.Busy
		}
		return busy == 0, nil
	})
	if err == nil && !ok {
		r.note(violation{"settles", "", fmt.Sprintf("%d light hosts still have executions in hand, though all have ended", busy)})
	}
	return err
}

// bare starts the agents anew, with nothing that they are to keep, and sees to it that they remove what they have kept.
func (r *run) bare(ctx context.Context) error {
	if err := r.gone(ctx, "though all scripts had ended and the agents too", r.w.servers()...); err != nil {
		return err
	}
	for _, c := range r.w.crews {
		c.first.Keep = time.Millisecond
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	for _, v := range r.w.reals {
		v.args = append(v.args, "--keep-output", "1ms")
		if err := v.start(); err != nil {
			return err
		}
	}
	var dirs []string
	ok, err := until(ctx, func() (bool, error) {
		dirs = r.w.spooled()
		return len(dirs) == 0, nil
	})
	if err != nil {
		return err
	}
	if !ok {
		r.note(violation{"nothing is left", "", fmt.Sprintf("%d directories of executions, one is %s", len(dirs), dirs[0])})
	}
	if err := r.w.online(ctx); err != nil {
		return err
	}
	if err := r.w.stopHosts(ctx); err != nil {
		r.note(violation{"ends in good order", "", err.Error()})
	}
	for _, v := range r.w.reals {
		if err := v.unmount(); err != nil {
			r.note(violation{"ends in good order", v.host, err.Error()})
		}
	}
	return nil
}

// servers are the pids that are to be there without hosts.
func (w *world) servers() (pids []int) {
	for _, g := range w.gateways {
		pids = append(pids, g.pid())
	}
	if w.redis != nil {
		for _, n := range w.redis.nodes {
			pids = append(pids, n.pid())
		}
	}
	return pids
}

// gone sees to it that no process is left but some.
func (r *run) gone(ctx context.Context, when string, but ...int) error {
	known := map[int]bool{}
	for _, pid := range but {
		known[pid] = true
	}
	if r.w.redis != nil {
		for _, n := range r.w.redis.nodes {
			known[n.pid()] = true
		}
	}
	var left []string
	ok, err := until(ctx, func() (bool, error) {
		left = nil
		for _, pid := range r.w.leftovers() {
			if !known[pid] {
				left = append(left, describe(pid))
			}
		}
		return len(left) == 0, nil
	})
	if err == nil && !ok {
		r.note(violation{"nothing is left", "", fmt.Sprintf("%d processes %s: %q", len(left), when, left)})
	}
	return err
}

// Slack of what a gateway has when nobody is connected: connections to its store, and what comes and goes.
const (
	slackGoroutines  = 30
	slackDescriptors = 80
)

// calm sees to it that the gateways hold nothing for hosts that have gone.
func (r *run) calm(ctx context.Context) error {
	for _, g := range r.w.gateways {
		g.op.Close()
		n, fds := 0, 0
		ok, err := until(ctx, func() (bool, error) {
			var err, ferr error
			n, err = goroutines(ctx, g.admin)
			fds, ferr = descriptors(g.pid())
			return n <= r.w.calm+slackGoroutines && fds <= slackDescriptors, errors.Join(err, ferr)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		if !ok {
			profile, err := body(ctx, g.admin+"/debug/pprof/goroutine?debug=1")
			if err = errors.Join(err, os.WriteFile(filepath.Join(r.w.logs, g.name+".goroutines"), profile, 0o644)); err != nil {
				return err
			}
			r.note(violation{"nothing is left", g.name, fmt.Sprintf("%d goroutines (%d at its start), %d descriptors with nobody connected", n, r.w.calm, fds)})
		}
		r.remark("%s: %d goroutines (%d at its start) and %d descriptors with nobody connected", g.name, n, r.w.calm, fds)
	}
	return nil
}
