package queue

import "time"

// Limits and defaults of the domain. Sizes are in bytes.
const (
	MaxScript         = 1 << 20  // of a script
	DefaultOutput     = 4 << 20  // kept per execution
	MaxOutput         = 64 << 20 // that a job may ask for
	OutputSlack       = 64 << 10 // that a store keeps beyond the limit, which the host is to hold
	MaxChunk          = 8 << 10  // data in one output event
	MaxEnv            = 64 << 10 // names and values of a job's environment together; a control character counts as 6
	MaxName           = 200      // of a job
	MaxLabels         = 64       // of a host
	MaxLabelKey       = 63       // without its prefix
	MaxLabelPrefix    = 253
	MaxLabelValue     = 255
	MaxRequirements   = 64      // of a selector
	MaxSelectorValues = 256     // of one "in" or "notin"
	MaxFacts          = 8 << 10 // encoded
	MaxLanes          = 16      // that a host may declare slots for
	MaxSlots          = 64      // of one lane
	MaxReason         = 1 << 10 // a host's reason for rejecting, cut beyond
	MinPriority       = -100
	MaxPriority       = 100
	MaxTargets        = 1_000_000
	MaxIdempotencyKey = 200
	MaxSupersedeKey   = 200
	MaxRecheck        = 4 << 10 // of a selector that is checked again

	DefaultRunTimeout    = time.Hour
	MaxRunTimeout        = 30 * 24 * time.Hour
	DefaultPickupTimeout = 24 * time.Hour
	MaxPickupTimeout     = 90 * 24 * time.Hour
	DefaultGrace         = 10 * time.Second // between TERM and KILL
	MaxGrace             = 10 * time.Minute

	// MaxCount is where sums of bytes that hosts claim to have dropped or lost stop
	// growing: what every store, Lua's numbers included, adds up exactly.
	MaxCount = 1 << 52

	// DefaultLeaseTTL is how long a delivery may stay unaccepted, in service time.
	DefaultLeaseTTL = 30 * time.Second
	// SilenceGrace is what an accepted execution gets beyond its run_timeout
	// and grace, in service time, before silence makes it lost.
	SilenceGrace = 5 * time.Minute
	// HelloTransit is how long a hello may be on its way, in queues of gateways and proxies, after its process ended.
	HelloTransit = time.Minute
	// DriverTimeout is how long an expansion's driver may be silent before
	// another gateway may drive it.
	DriverTimeout = 10 * time.Second
)
