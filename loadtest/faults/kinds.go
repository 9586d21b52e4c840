package faults

import (
	"context"
	"sync"
	"syscall"
)

// victim is what a fault strikes.
type victim struct {
	name  string
	busy  *sync.Mutex // one fault at a time
	gate  *gate
	redis *redisPair
	crew  *crew
	real  *real
	links []*relay
	hosts []string // whose executions are struck; nil = all
	ends  []string // whose scripts it may end besides
	held  string   // the execution that was lured into the wanted state; "" = none
}

// kindClock needs a program of its own.
const kindClock = "wrong clock"

// kind is a kind of fault.
type kind struct {
	name   string
	redis  bool // only with Redis
	sqlite bool // only with SQLite
	real   bool // only with real hosts
	disk   bool // only with disks of the suite's own
	on     func(*world, fault) victim
	// prepare, if set, does what takes its time before there is an execution in the wanted state.
	prepare func(context.Context, *run, fault, victim) error
	// strike does it; undo, which may be nil, ends it. Both return when it is done.
	strike func(context.Context, *run, fault, victim) (undo func(context.Context) error, err error)
	// loses says that scripts may be lost with it; breaks, that what is to be started may be refused or fail; forgets, that a host
	// goes on without its journal.
	loses, breaks, forgets bool
}

// kinds gives all, in the order of the table.
func kinds() []kind {
	return []kind{
		{name: "gateway killed", on: aGateway, strike: killed},
		{name: "gateway stopped", on: aGateway, strike: stopped},
		{name: "gateway drained", on: aGateway, strike: drained},
		{name: "store's disk full", sqlite: true, disk: true, on: aGateway, strike: storeFull},
		{name: "store's disk fails", sqlite: true, disk: true, on: aGateway, strike: storeFails},
		{name: "redis killed", redis: true, on: theRedis, strike: killed},
		{name: "redis stopped", redis: true, on: theRedis, strike: stopped},
		{name: "redis rolled back", redis: true, on: theRedis, strike: rolledBack, loses: true},
		{name: "redis failed over", redis: true, on: theRedis, prepare: caughtUp, strike: failover, loses: true},
		{name: "redis' disk full", redis: true, disk: true, on: theRedis, strike: storeFull},
		{name: "redis' disk fails", redis: true, disk: true, on: theRedis, strike: storeFails},
		{name: "redis out of memory", redis: true, on: theRedis, strike: outOfMemory},
		{name: "scripts flushed", redis: true, on: theRedis, strike: command("SCRIPT", "FLUSH")},
		{name: "functions flushed", redis: true, on: theRedis, strike: command("FUNCTION", "FLUSH")},
		{name: "subscriptions killed", redis: true, on: theRedis, strike: command("CLIENT", "KILL", "TYPE", "pubsub")},
		{name: "store cut", redis: true, on: aStoreLink, strike: cut},
		{name: "store half-open", redis: true, on: aStoreLink, strike: halfOpen},
		{name: "store slow", redis: true, on: aStoreLink, strike: slow},
		{name: "hints lost", redis: true, on: aStoreLink, strike: hints(hintsLost)},
		{name: "hints twice", redis: true, on: aStoreLink, strike: hints(hintsTwice)},
		{name: "hints late", redis: true, on: aStoreLink, strike: hints(hintsLate)},
		{name: "host restarted", on: aCrew, strike: killed, loses: true},
		{name: "host stopped", on: aCrew, strike: stopped},
		{name: "host loses its power", disk: true, on: aCrew, strike: powerLost, loses: true},
		{name: "host's disk fails", disk: true, on: aCrew, strike: hostDiskFails, loses: true, breaks: true},
		{name: "host's state lost", on: aCrew, strike: wiped, loses: true, forgets: true},
		{name: "two machines", on: aTwin, strike: twins, loses: true, forgets: true},
		{name: "identity taken over", on: aTwin, strike: takenOver, loses: true, forgets: true},
		{name: "state copied", on: aTwin, strike: copied},
		{name: "connection cut", on: aLink, strike: cut},
		{name: "connection half-open", on: aLink, strike: halfOpen},
		{name: "connection slow", on: aLink, strike: slow},
		{name: "cancelled behind a cut", on: aLink, strike: cancelled},
		{name: "agent killed", real: true, on: aReal, strike: killed, loses: true},
		{name: "agent stopped", real: true, on: aReal, strike: stopped},
		{name: "agent's state lost", real: true, on: aReal, strike: wipedReal, loses: true, forgets: true},
		{name: "supervisor killed", real: true, on: aReal, strike: supervisor(syscall.SIGKILL), loses: true},
		{name: "supervisor stopped", real: true, on: aReal, strike: supervisor(syscall.SIGSTOP)},
		{name: kindClock, real: true, on: aReal, strike: wrongClock, loses: true},
		{name: "agent's disk full", real: true, disk: true, on: aReal, strike: diskFull, loses: true, breaks: true},
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
