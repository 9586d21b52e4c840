package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Stores.
const (
	SQLite = "sqlite"
	Redis  = "redis"
)

// Config says what Run does. The programs, Store, OpenStore, Crew and Dir are needed.
type Config struct {
	Store string // SQLite or Redis
	Seed  uint64
	For   time.Duration // how long faults strike; what heals and is checked afterwards takes its own time
	// Round is how long faults strike one world; then another begins, with the next seed. 0 = 5 minutes.
	Round time.Duration
	// Longer is how much longer faults may strike for each kind to have struck at least once.
	Longer time.Duration
	// Kinds are the names of the faults that strike; nil = all that the store has.
	Kinds []string

	Rexgate     string   // the program
	Rexagent    string   // the program; "" = no real hosts
	WrongClock  string   // rexagent built with a clock that ClockVar moves; "" = no faults of that kind
	RedisServer string   // the program
	Crew        []string // the command that is a Crew
	// OpenStore opens the store of a run whose gateways have ended: a Redis' address, or a file.
	OpenStore func(ctx context.Context, where string) (queue.Store, error)
	Dir       string // an empty directory; what is left there shows how a run failed
	Keep      bool   // what is left is kept though nothing failed
	// Disks gives stores and hosts file systems of their own, which can be full and fail; see CheckDisks.
	Disks bool

	Light int // light hosts; 0 = 90
	Crews int // processes that carry them; 0 = 6
	Real  int // rexagents; 0 = 8
	// Outstanding is how many executions are under way at most; 0 = five a host.
	Outstanding int
	// Patience bounds how long nothing may move before what hasn't ended is a violation; 0 = 6 minutes: an agent that was refused again and again
	// may pause for 5.
	Patience time.Duration

	Log io.Writer // gets lines; nil = none
}

// ClockVar names the variable that moves the clock of WrongClock, in seconds.
const ClockVar = "FAULTS_CLOCK"

func (c *Config) complete() error {
	if c.Store != SQLite && c.Store != Redis {
		return fmt.Errorf("store %q is neither %s nor %s", c.Store, SQLite, Redis)
	}
	if c.Rexgate == "" || len(c.Crew) == 0 || c.OpenStore == nil || c.Dir == "" || c.Store == Redis && c.RedisServer == "" {
		return errors.New("a program, the store or the directory is missing")
	}
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&c.Light, 90)
	def(&c.Crews, 6)
	def(&c.Real, 8)
	if c.Rexagent == "" {
		c.Real = 0
	}
	def(&c.Outstanding, 5*(c.Light+c.Real))
	if c.Patience == 0 {
		c.Patience = 6 * time.Minute
	}
	if c.Round == 0 {
		c.Round = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	return nil
}
