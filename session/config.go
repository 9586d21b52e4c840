package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Store is what sessions need of a queue.Store, which is one.
type Store interface {
	queue.Sessions
	queue.Hints
	Lookup
}

// Lookup reads what a delivery needs.
type Lookup interface {
	Job(ctx context.Context, id queue.JobID) (queue.JobStatus, error)
	Script(ctx context.Context, id queue.JobID) ([]byte, error)
	Execution(ctx context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error)
	Host(ctx context.Context, id queue.HostID) (queue.Host, error)
}

// Peer is an authenticated host.
type Peer struct {
	Host        queue.HostID
	Incarnation int64
	// Expires ends a socket with CloseExpired; zero = the socket may outlive the
	// token that it was opened with.
	Expires time.Time
}

// Config sets a Hub up. Zero values are the defaults.
type Config struct {
	// Gateway is this gateway's name in the store; unique among those that live.
	Gateway string
	// LeaseTTL is how long a delivery may stay unaccepted; queue.DefaultLeaseTTL.
	LeaseTTL time.Duration
	// Ping is the interval at which hosts are asked to ping, Dead the silence
	// after which a socket is closed; wire.PingInterval, wire.DeadAfter.
	Ping, Dead time.Duration
	// AliveTTL is how long this gateway counts as alive after its last sign; 30 s.
	AliveTTL time.Duration
	// ReadyEvery is the shortest time between two reads of the ready set, and half
	// of the longest; 15 s.
	ReadyEvery time.Duration
	// LookEvery is how often a session asks the store although nothing hints at
	// it; 5 min. It finds what the ready set doesn't have: that the host was revoked, or has a
	// session elsewhere.
	LookEvery time.Duration
	// Turns bounds the sessions that call the store at once; 1024. It is large
	// since stores gather concurrent calls into one commit.
	Turns int
	// Writes bounds the turns that write at once, beyond which store calls wait;
	// 1024.
	Writes int
	// MaxSessions bounds the attached sockets; 200,000. As many more may have gone and wait for
	// the store to be told so.
	MaxSessions int
	// CreditPool is what sessions may be lent beyond wire.IdleCredit, all
	// together, in bytes; 64 MiB. MaxCredit is the most for one; 256 KiB.
	CreditPool, MaxCredit int64
	// CacheBytes bounds the scripts kept in memory; 32 MiB.
	CacheBytes int64
	// StoreTimeout bounds one call of the store, or up to a second more; 15 s.
	StoreTimeout time.Duration
	// Recorded is called after each record, for live views. It must not block.
	Recorded func(queue.HostID, []queue.Ack)
	Log      *slog.Logger
}

func (c Config) withDefaults() Config {
	def(&c.LeaseTTL, queue.DefaultLeaseTTL)
	def(&c.Ping, wire.PingInterval)
	def(&c.Dead, wire.DeadAfter)
	def(&c.AliveTTL, 30*time.Second)
	def(&c.ReadyEvery, 15*time.Second)
	def(&c.LookEvery, 5*time.Minute)
	def(&c.Turns, 1024)
	def(&c.Writes, 1024)
	def(&c.MaxSessions, 200_000)
	def(&c.CreditPool, 64<<20)
	def(&c.MaxCredit, 256<<10)
	def(&c.CacheBytes, 32<<20)
	def(&c.StoreTimeout, 15*time.Second)
	if c.Recorded == nil {
		c.Recorded = func(queue.HostID, []queue.Ack) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

const (
	maxPerHost   = 4        // connections of one host: one that delivers, one in standby, and some not yet known to be cut
	maxDeliver   = 16       // deliveries of one Lease
	maxRecord    = 256      // events of one Record
	frameTarget  = 64 << 10 // bytes of a frame to a host, so that a slow line gets it in time
	readyLimit   = 1 << 17  // hosts of one read of the ready set
	sweepEvery   = 5 * time.Second
	sweepPart    = 512              // sessions that are looked at between two holds of Hub.mu
	idleWorkers  = 64               // that wait for a turn
	creditIdle   = 10 * time.Second // without events, a session gives its credit back
	helloWithin  = 30 * time.Second
	duplicateFor = time.Minute // until a duplicate may try again
	stopWithin   = 5 * time.Second
)
