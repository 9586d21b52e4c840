package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// diskFull leaves a host's disk no room.
func diskFull(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	undo, err := fill(v.real.dir)
	if undo == nil {
		return nil, err
	}
	return func(context.Context) error { return undo() }, err
}

// storeFull leaves the store's disk no room. Whoever ends of it is started again once there is some.
func storeFull(_ context.Context, r *run, _ fault, v victim) (func(context.Context) error, error) {
	undo, err := v.disk(r.w).fill()
	if undo == nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := undo(); err != nil {
			return err
		}
		if v.gate != nil { // it is to be ready again by itself, if it lives
			return r.w.up(ctx, v.gate)
		}
		return v.redis.master().again(ctx)
	}, err
}

// storeFails has the store's disk fail under it, or its machine lose its power. It goes on with what was synced.
func storeFails(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	if !v.process().freeze(ctx) {
		return nil, errNothing
	}
	err := v.disk(r.w).fail()
	if f.How&1 == 1 { // else it is the power: nobody sees the disk fail
		err = errors.Join(err, v.process().signal(syscall.SIGCONT))
	}
	return func(ctx context.Context) error {
		v.process().kill()
		if err := v.disk(r.w).again(); err != nil {
			return err
		}
		return v.up(ctx, r.w)
	}, err
}

// powerLost has a crew's machine lose its power: what wasn't synced is lost.
func powerLost(ctx context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	if !v.process().freeze(ctx) {
		return nil, errNothing
	}
	err := v.crew.disk.fail()
	v.crew.kill()
	return func(ctx context.Context) error {
		if err := v.crew.disk.again(); err != nil {
			return err
		}
		return v.crew.begin(ctx)
	}, err
}

// hostDiskFails has a crew's disk fail while its hosts live on, for a while.
func hostDiskFails(ctx context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	if !v.process().freeze(ctx) {
		return nil, errNothing
	}
	err := errors.Join(v.crew.disk.fail(), v.process().signal(syscall.SIGCONT))
	return func(ctx context.Context) error {
		v.crew.kill()
		if err := v.crew.disk.again(); err != nil {
			return err
		}
		return v.crew.begin(ctx)
	}, err
}

// wiped restarts a crew, some of whose hosts have nothing left but their keys.
func wiped(_ context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	v.crew.kill()
	for i, h := range v.crew.hosts {
		if f.How>>8&1 == 0 || i%4 == int(f.How>>9%4) {
			r.w.mayDouble(h)
			if err := os.RemoveAll(filepath.Join(v.crew.first.Dir, h)); err != nil {
				return nil, err
			}
		}
	}
	return v.crew.begin, nil
}

// wipedReal ends all that runs on a real host, and leaves it nothing but its key.
func wipedReal(ctx context.Context, r *run, _ fault, v victim) (func(context.Context) error, error) {
	v.real.kill()
	r.w.mayDouble(v.real.host)
	for {
		left := v.real.processes(r.w)
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			killLeftover(pid)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	files, err := os.ReadDir(v.real.dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if name := f.Name(); name != "host.key" && name != "host.json" {
			if err := os.RemoveAll(filepath.Join(v.real.dir, name)); err != nil {
				return nil, err
			}
		}
	}
	return func(context.Context) error { return v.real.start() }, nil
}

// processes are those of a real host: agent, supervisors and scripts.
func (r *real) processes(w *world) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmd, _ := os.ReadFile(filepath.Join(d, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(d, "environ"))
		script := bytes.Contains(env, []byte(TraceVar+"="+w.trace+"\x00")) && bytes.Contains(env, fmt.Appendf(nil, ".%s\x00", r.host))
		if (script || bytes.Contains(cmd, []byte(r.dir))) && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// disk gives the disk that a store is on.
func (v victim) disk(w *world) *disk {
	if v.redis != nil {
		return v.redis.master().disk
	}
	return w.storeOn
}
