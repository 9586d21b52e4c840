package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// victim is what a fault strikes.
type victim struct {
	name  string
	busy  *sync.Mutex // one fault at a time
	gate  *gate
	redis *redisServer
	crew  *crew
	real  *real
	links []*relay
	hosts []string // whose executions are struck; nil = all
	held  string   // the execution that was lured into the wanted state; "" = none
}

// kind is a kind of fault.
type kind struct {
	name  string
	redis bool // only with Redis
	real  bool // only with real hosts
	on    func(*world, fault) victim
	// strike does it; undo, which may be nil, ends it. Both return when it is done.
	strike func(context.Context, *run, fault, victim) (undo func(context.Context) error, err error)
	// loses says that scripts may be lost with it; rolls, that acknowledged writes may be.
	loses, rolls bool
}

// Names of kinds that others must know.
const (
	kindClock    = "wrong clock"
	kindDisk     = "disk full"
	kindFailover = "failover"
)

// kinds gives all, in the order of the table.
func kinds() []kind {
	return []kind{
		{name: "gateway killed", on: aGateway, strike: killed},
		{name: "gateway stopped", on: aGateway, strike: stopped},
		{name: "gateway drained", on: aGateway, strike: drained},
		{name: "redis killed", redis: true, on: theRedis, strike: killed},
		{name: "redis stopped", redis: true, on: theRedis, strike: stopped},
		{name: "scripts flushed", redis: true, on: theRedis, strike: command("SCRIPT", "FLUSH")},
		{name: "subscriptions killed", redis: true, on: theRedis, strike: command("CLIENT", "KILL", "TYPE", "pubsub")},
		{name: kindFailover, redis: true, on: theRedis, strike: failover, rolls: true, loses: true},
		{name: "store cut", redis: true, on: aStoreLink, strike: cut},
		{name: "store half-open", redis: true, on: aStoreLink, strike: halfOpen},
		{name: "store slow", redis: true, on: aStoreLink, strike: slow},
		{name: "hints lost", redis: true, on: aStoreLink, strike: hints(hintsLost)},
		{name: "hints twice", redis: true, on: aStoreLink, strike: hints(hintsTwice)},
		{name: "hints late", redis: true, on: aStoreLink, strike: hints(hintsLate)},
		{name: "host restarted", on: aCrew, strike: killed, loses: true},
		{name: "host stopped", on: aCrew, strike: stopped},
		{name: "connection cut", on: aLink, strike: cut},
		{name: "connection half-open", on: aLink, strike: halfOpen},
		{name: "connection slow", on: aLink, strike: slow},
		{name: "cancelled behind a cut", on: aLink, strike: cancelled},
		{name: "agent killed", real: true, on: aReal, strike: killed, loses: true},
		{name: "agent stopped", real: true, on: aReal, strike: stopped},
		{name: "supervisor killed", real: true, on: aReal, strike: supervisor(syscall.SIGKILL), loses: true},
		{name: "supervisor stopped", real: true, on: aReal, strike: supervisor(syscall.SIGSTOP)},
		{name: kindClock, real: true, on: aReal, strike: wrongClock, loses: true},
		{name: kindDisk, real: true, on: aReal, strike: diskFull, loses: true},
	}
}

func findKind(name string) kind {
	for _, k := range kinds() {
		if k.name == name {
			return k
		}
	}
	panic("no kind " + name) // names come of the table
}

func aGateway(w *world, f fault) victim {
	g := w.gateways[f.Victim%uint64(len(w.gateways))]
	return victim{name: g.name, busy: &g.busy, gate: g}
}

func theRedis(w *world, _ fault) victim {
	return victim{name: "redis", busy: &w.redis.busy, redis: w.redis}
}

func aStoreLink(w *world, f fault) victim {
	g := w.gateways[f.Victim%uint64(len(w.gateways))]
	return victim{name: g.store.name, busy: &g.linkBusy, links: []*relay{g.store}}
}

func aCrew(w *world, f fault) victim {
	c := w.crews[f.Victim%uint64(len(w.crews))]
	return victim{name: c.name, busy: &c.busy, crew: c, hosts: c.hosts}
}

func aReal(w *world, f fault) victim {
	r := w.reals[f.Victim%uint64(len(w.reals))]
	return victim{name: r.host, busy: &r.busy, real: r, hosts: []string{r.host}}
}

// aLink strikes the connections of some of the hosts of a crew, or of a real host.
func aLink(w *world, f fault) victim {
	if n := uint64(len(w.reals)); n > 0 && f.How>>40%4 == 0 {
		r := w.reals[f.Victim%n]
		return victim{name: "links of " + r.host, busy: &r.linkBusy, real: r, links: w.links[r.host], hosts: []string{r.host}}
	}
	c := w.crews[f.Victim%uint64(len(w.crews))]
	v := victim{name: "links of " + c.name, busy: &c.linkBusy, crew: c}
	for i, h := range c.hosts {
		if f.How>>8&1 == 0 || i%4 == int(f.How>>9%4) {
			v.hosts = append(v.hosts, h)
			v.links = append(v.links, w.links[h]...)
		}
	}
	return v
}

func (v victim) process() *process {
	switch {
	case v.gate != nil:
		return v.gate.process
	case v.redis != nil:
		return v.redis.process
	case v.crew != nil:
		return v.crew.process
	}
	return v.real.process
}

// up starts a victim's process again.
func (v victim) up(ctx context.Context, w *world) error {
	switch {
	case v.gate != nil:
		return w.up(ctx, v.gate)
	case v.redis != nil:
		return v.redis.up(ctx)
	case v.crew != nil:
		return v.crew.begin(ctx)
	}
	return v.real.start()
}

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

func command(args ...string) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
		_, err := redisDo(v.redis.addr, args...)
		return nil, err
	}
}

// failover goes on with a Redis that lacks what was written last.
func failover(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	from := time.Now()
	size, err := v.redis.written()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, f.Hold); err != nil { // what is written meanwhile will be lost
		return nil, err
	}
	err = v.redis.lose(size)
	r.load.lost(window{from, time.Now()})
	return func(ctx context.Context) error {
		defer func() { r.load.lost(window{from, time.Now()}) }()
		return v.redis.up(ctx)
	}, err
}

// cut resets connections: at once, or in the middle of what comes next; new ones come through, or not.
func cut(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	for _, l := range v.links {
		switch f.How % 3 {
		case 0:
			l.cut(false)
		case 1:
			l.cut(true)
		case 2:
			l.cutAfter(int64(1 + f.How>>16%400))
		}
	}
	return func(context.Context) error {
		for _, l := range v.links {
			l.cut(false)
		}
		return nil
	}, nil
}

// cancelled cuts a host off, and cancels its execution meanwhile: what it says of it comes after that.
func cancelled(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	id := queue.ExecutionID(v.held)
	job, host, err := id.Split()
	if err != nil {
		return nil, errNothing
	}
	undo, err := cut(ctx, r, fault{How: 1}, v)
	if err != nil {
		return nil, err
	}
	r.load.cancelOne(ctx, f, string(job), string(host))
	return undo, nil
}

func halfOpen(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	dirs := [][]int{{downwards}, {upwards}, {downwards, upwards}}[f.How%3]
	var undo []func()
	for _, l := range v.links {
		undo = append(undo, l.freeze(dirs...))
	}
	return func(context.Context) error {
		for _, f := range undo {
			f()
		}
		return nil
	}, nil
}

func slow(_ context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
	for _, l := range v.links {
		l.delay.Store(int64(time.Duration(5+f.How%200) * time.Millisecond))
	}
	return func(context.Context) error {
		for _, l := range v.links {
			l.delay.Store(0)
		}
		return nil
	}, nil
}

func hints(rule hintRule) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
		v.links[0].rule.Store(int32(rule))
		return func(context.Context) error {
			v.links[0].rule.Store(int32(hintsPass))
			return nil
		}, nil
	}
}

// errNothing says that there was nothing to strike.
var errNothing = errors.New("nothing to strike")

// supervisor strikes one of a host's supervisors, after waiting a moment for there to be one.
func supervisor(s syscall.Signal) func(context.Context, *run, fault, victim) (func(context.Context) error, error) {
	return func(ctx context.Context, _ *run, f fault, v victim) (func(context.Context) error, error) {
		pids := v.real.supervisors()
		for range 100 {
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

// ownDisks tells whether real hosts have disks that can be filled.
func ownDisks() bool { return os.Geteuid() == 0 }

func diskFull(_ context.Context, _ *run, _ fault, v victim) (func(context.Context) error, error) {
	file := filepath.Join(v.real.dir, "filler")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	undo := func(context.Context) error { return os.Remove(file) }
	for _, size := range []int{1 << 20, 64 << 10, 4 << 10, 1} {
		b := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(b)
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return undo, err
	}
	return undo, nil
}
