package agent

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/session/wire"
)

// Config is what an agent needs. Dir and Runner are required.
type Config struct {
	// Dir is the state directory, which must exist. Only one agent may use it at a time: see Lock.
	Dir    string
	Runner runner.Runner
	// Fetch gets a script that is too large to travel within its job: a path on the gateway
	// in use, and its size. It may be called concurrently. nil = such jobs are left to lapse.
	Fetch func(ctx context.Context, path string, size int64) ([]byte, error)
	// Policy says what may run; nil = UserPolicy{}.
	Policy Policy
	// Slots is how many executions of a lane may be in hand; lanes that it doesn't
	// name have one.
	Slots map[string]int

	Version   string
	BootID    string
	MachineID string // of the host; "" = unknown, and not compared
	// Facts are told with each hello; it may be nil.
	Facts func() map[string]string

	// Keep is how long the directory of a settled execution is kept, in case the store goes
	// back; 0 = DefaultKeep. KeepBytes bounds it for all of them together, on disk; 0 = 256 MiB.
	Keep      time.Duration
	KeepBytes int64
	// SpoolBytes bounds what the executions in hand may have on disk, all together: 0 = 256 MiB. Each gets room
	// for all of its output if there is as much, else less: its script is slowed then, and has 1 MiB at
	// least. What is stored already makes room.
	SpoolBytes int64
	// EndAll ends what a script leaves behind when it ends by itself; else that lives on.
	EndAll bool
	// Volatile keeps the journal in memory only, and touches no disk beyond what
	// the Runner does: for simulated fleets. Such an agent remembers nothing.
	Volatile bool
	Log      *slog.Logger // nil = nothing is logged
}

// DefaultKeep is how long the output of settled executions is kept on the host.
const DefaultKeep = time.Hour

const (
	// maxScript bounds a script, in bytes.
	maxScript = 1 << 20
	// maxPending bounds the jobs that wait for a slot which the store believes to be free.
	maxPending = 16
	// helloRoom is what a hello's names of executions may take of its frame, in bytes; facts and slots take the rest. beside
	// is what one takes at most besides its id and token.
	helloRoom = wire.MaxFrame - 16<<10
	beside    = 51
)

func (c Config) withDefaults() Config {
	if c.Policy == nil {
		c.Policy = UserPolicy{}
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.KeepBytes == 0 {
		c.KeepBytes = 256 << 20
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 256 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	slots := map[string]int{"default": 1, "urgent": 1}
	maps.Copy(slots, c.Slots)
	c.Slots = slots
	return c
}

func (c Config) slots(lane string) int {
	if n, ok := c.Slots[lane]; ok {
		return n
	}
	return 1
}

// gatewayClock is the gateway's time, as learnt from its messages.
type gatewayClock struct {
	learnt int64     // Unix milliseconds; 0 = nothing was learnt
	at     time.Time // when
}

func (c *gatewayClock) learn(ms int64) {
	if ms > 0 {
		c.learnt, c.at = ms, time.Now()
	}
}

// now gives the gateway's time by the monotonic clock, in Unix milliseconds.
func (c *gatewayClock) now() (ms int64, known bool) {
	if c.learnt == 0 {
		return 0, false
	}
	return c.learnt + time.Since(c.at).Milliseconds(), true
}

// skew is what to add to a time of this host's clock, in milliseconds.
func (c *gatewayClock) skew() int64 {
	now, ok := c.now()
	if !ok {
		return 0
	}
	return now - time.Now().UnixMilli()
}

// signal wakes whoever waits on a channel with room for one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
