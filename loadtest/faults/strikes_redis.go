package faults

import (
	"context"
	"errors"
	"time"
)

func command(args ...string) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
		_, err := redisDo(v.redis.master().addr, args...)
		return nil, err
	}
}

// rolledBack goes on with a Redis that lacks what was written last.
func rolledBack(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	from := time.Now()
	m := v.redis.master()
	size, err := m.written()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, f.losing()); err != nil { // what is written meanwhile will be lost
		return nil, err
	}
	err = m.lose(size)
	r.load.lost(window{from, time.Now()})
	return func(ctx context.Context) error {
		defer func() { r.load.lost(window{from, time.Now()}) }()
		return m.up(ctx)
	}, err
}

// caughtUp has the replica follow, before a failover.
func caughtUp(ctx context.Context, _ *run, _ fault, v victim) error { return v.redis.catchUp(ctx) }

// onItsWay is how old a write may be that the replica doesn't have yet.
const onItsWay = 200 * time.Millisecond

// failover holds the replication up while writes are acknowledged, kills the master, and goes on with the replica. Who was the master comes back
// as the replica, with nothing.
func failover(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	from := time.Now().Add(-onItsWay)
	cut := v.redis.repl.freeze(upwards, downwards)
	err := pause(ctx, f.losing())
	v.redis.master().kill()
	r.load.lost(window{from, time.Now()}) // nothing of the replica has been read yet
	v.redis.repl.cut(true)
	cut()
	next := v.redis.follower().addr
	aim := func() {
		for _, g := range r.w.gateways {
			g.store.aim(next)
		}
	}
	if f.How&1 == 0 { // they find a replica that takes no writes, first
		aim()
		err = errors.Join(err, pause(ctx, f.losing()/4))
	}
	err = errors.Join(err, v.redis.promote())
	aim()
	r.load.lost(window{from, time.Now()})
	return v.redis.comeBack, err
}

// outOfMemory leaves Redis no memory for writes.
func outOfMemory(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	addr := v.redis.master().addr
	_, err := redisDo(addr, "CONFIG", "SET", "maxmemory", "1mb")
	return func(context.Context) error {
		_, err := redisDo(addr, "CONFIG", "SET", "maxmemory", "0")
		return err
	}, err
}
