package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

func killed(_ context.Context, r *run, _ fault, v victim) (func(context.Context) error, error) {
	v.process().kill()
	return func(ctx context.Context) error { return v.up(ctx, r.w) }, nil
}

func stopped(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	p := v.process()
	if !p.running() || p.signal(syscall.SIGSTOP) != nil {
		return nil, errNothing // it is just being started again
	}
	return func(context.Context) error { return p.signal(syscall.SIGCONT) }, nil
}

func drained(ctx context.Context, r *run, _ fault, v victim) (func(context.Context) error, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !v.gate.running() {
		return nil, errNothing
	}
	return func(ctx context.Context) error { return v.up(ctx, r.w) }, v.gate.stop(ctx)
}

// errNothing says that there was nothing to strike.
var errNothing = errors.New("nothing to strike")

// supervisor strikes one of a host's supervisors, after waiting a moment for there to be one.
func supervisor(s syscall.Signal) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
		pids := v.real.supervisors()
		if len(pids) == 0 {
			short, cancel := context.WithTimeout(ctx, time.Second)
			r.load.rush(short, v.hosts, Plan{Lines: 6, Pad: 4, Every: 2, Pause: 200}) //nolint:errcheck // another fault may be in the way
			cancel()
		}
		for range 300 { // other faults may hold it up
			if len(pids) > 0 {
				break
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				return nil, err
			}
			pids = v.real.supervisors()
		}
		if len(pids) == 0 {
			return nil, errNothing
		}
		pid := pids[f.How%uint64(len(pids))]
		if err := syscall.Kill(pid, s); err != nil {
			return nil, errNothing
		}
		if s == syscall.SIGKILL {
			return nil, nil
		}
		return func(context.Context) error {
			syscall.Kill(pid, syscall.SIGCONT) //nolint:errcheck // it may be gone
			return nil
		}, nil
	}
}

// wrongClock has an agent go on with another clock; the next one has the right clock, or again another.
func wrongClock(_ context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	off := []int{-86400 * 400, -3600, -90, 90, 3600, 86400 * 30, 86400 * 4000}[f.How%7]
	v.real.kill()
	v.real.path, v.real.env = r.w.cfg.WrongClock, []string{fmt.Sprintf("%s=%d", ClockVar, off)}
	if err := v.real.start(); err != nil {
		return nil, err
	}
	if f.How>>8%3 > 0 {
		return nil, nil // it stays so until the next such fault, or the end
	}
	return func(context.Context) error {
		v.real.kill()
		v.real.path, v.real.env = r.w.cfg.Rexagent, nil
		return v.real.start()
	}, nil
}
