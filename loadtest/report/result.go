package report

import "time"

// Format is the version of the JSON that this package writes.
const Format = 1

// Result is what one run of a scenario measured.
type Result struct {
	Format   int       `json:"format"`
	Scenario string    `json:"scenario"` // echo-sleep, fan-out, idle, poll, ...
	Command  []string  `json:"command"`  // the command line that makes the same run
	Started  time.Time `json:"started"`  // of the run as a whole
	Took     Duration  `json:"took_s"`   // of the run as a whole
	Origin   time.Time `json:"origin"`   // zero of all series: the submit, or the begin of measuring
	Notes    []string  `json:"notes,omitempty"`

	Machine Machine `json:"machine"`
	Stand   Stand   `json:"stand"`
	Fleet   Fleet   `json:"fleet"`
	Job     *Job    `json:"job,omitempty"`

	Steps      []Step         `json:"steps,omitempty"` // in the order of an execution's life
	Polls      *Polls         `json:"polls,omitempty"`
	Executions map[string]int `json:"executions,omitempty"` // by final state
	Errors     []Error        `json:"errors,omitempty"`     // most frequent first
	Processes  []Process      `json:"processes,omitempty"`
	Kernel     []Kernel       `json:"kernel,omitempty"` // at the end of each phase
	Figures    []Figure       `json:"figures,omitempty"`
	Series     []Series       `json:"series,omitempty"`
}

// Machine is where the run took place. ThisMachine fills it.
type Machine struct {
	CPU            string     `json:"cpu"`
	Cores          int        `json:"cores"` // that this process may use
	MemoryBytes    int64      `json:"memory_bytes"`
	System         string     `json:"system"` // of the distribution
	Kernel         string     `json:"kernel"`
	Go             string     `json:"go"`                       // of the load generator
	Virtualisation string     `json:"virtualisation,omitempty"` // "" if none was seen
	Load           [3]float64 `json:"load"`                     // averages over 1, 5, 15 minutes, before the run
	Descriptors    uint64     `json:"descriptors"`              // that a process may have
}

// Stand is the service that was measured: store and gateways.
type Stand struct {
	Rexgate       string   `json:"rexgate"` // its version
	Gateways      int      `json:"gateways"`
	GatewayArgs   []string `json:"gateway_args,omitempty"` // settings that aren't the default
	TLS           bool     `json:"tls"`
	Store         string   `json:"store"` // sqlite, redis
	StoreVersion  string   `json:"store_version,omitempty"`
	StoreSettings []string `json:"store_settings,omitempty"` // of its durability, as name=value
	StoreDisk     string   `json:"store_disk,omitempty"`     // type of the file system it writes to
	Remote        bool     `json:"remote,omitempty"`         // it was there before the run, and its processes weren't seen
}

// Fleet is who made the load.
type Fleet struct {
	Hosts      int            `json:"hosts"`
	Transports map[string]int `json:"transports"` // hosts by transport
	Processes  int            `json:"processes"`
	Addresses  int            `json:"addresses"` // source addresses
	Runner     string         `json:"runner"`    // simulated, real
	Journal    string         `json:"journal"`   // where agents keep their state: disk, tmpfs, memory
	Version    string         `json:"version"`   // of rexload
}

// Job is what was run on the hosts.
type Job struct {
	ID         string         `json:"id"`
	Script     string         `json:"script"`
	Submit     Duration       `json:"submit_s"` // from the request to its 2xx
	RunTimeout Duration       `json:"run_timeout_s,omitempty"`
	Lane       string         `json:"lane,omitempty"`
	Settings   map[string]any `json:"settings,omitempty"` // of the scenario
}

// Names of steps. Each counts from the submit.
const (
	StepLeased   = "leased"   // the store's lease; as the fleet saw it: the job arrived
	StepAccepted = "accepted" // the journal's fsync, or its record in the store
	StepStarted  = "started"
	StepFinished = "finished"
	StepStored   = "stored" // the last event was acknowledged: it is in the store
)

// Step is how long executions took from the submit to one step of their life.
type Step struct {
	Name    string        `json:"name"`
	ByStore *Distribution `json:"by_store,omitempty"` // the times that the store kept
	ByFleet *Distribution `json:"by_fleet,omitempty"` // the times at which the fleet saw it
}

// Distribution sums up samples of a duration. Percentiles are samples that were
// taken (the nearest rank), none is interpolated. They are exact
// unless Every is set.
type Distribution struct {
	Count int64    `json:"count"`
	Min   Duration `json:"min_s"`
	Mean  Duration `json:"mean_s"`
	P50   Duration `json:"p50_s"`
	P90   Duration `json:"p90_s"`
	P99   Duration `json:"p99_s"`
	Max   Duration `json:"max_s"`
	// Every says that only each so-manieth sample was kept for the percentiles: there
	// were more than fit. Count, Min, Mean and Max count all.
	Every int64 `json:"every,omitempty"`
}

// Polls is how hosts without a socket fared.
type Polls struct {
	Empty     *Distribution  `json:"empty,omitempty"`    // latency of polls that were answered at once, with nothing
	Held      *Distribution  `json:"held,omitempty"`     // how long held polls were held that ended with nothing
	Interval  *Distribution  `json:"interval,omitempty"` // between two polls of a host
	PerSecond float64        `json:"per_second,omitempty"`
	Answers   map[string]int `json:"answers,omitempty"` // by status
}

// Error is a reason for which something failed, and how often.
type Error struct {
	Reason  string `json:"reason"` // of a bounded set
	Count   int64  `json:"count"`
	Example string `json:"example,omitempty"` // one full text
}

// Roles of processes. RoleOthers is what else ran on the machine.
const (
	RoleGateway = "gateway"
	RoleStore   = "store"
	RoleFleet   = "fleet"
	RoleOthers  = "others"
)

// Names of phases that several scenarios have. A phase ends where the next begins.
const (
	PhaseStart   = "start"   // the service runs, no host is there: what memory is compared with
	PhaseEnroll  = "enroll"  // hosts get their identities
	PhaseConnect = "connect" // hosts attach; ends when all are there
	PhaseIdle    = "idle"    // nothing happens
	PhaseRun     = "run"     // from the submit until all is stored
	PhaseAfter   = "after"   // everything is over, hosts are still attached
)

// Process is all processes of one role, together.
type Process struct {
	Role   string  `json:"role"`
	Count  int     `json:"count"`
	Phases []Usage `json:"phases"`
}

// Usage is what the processes of a role used in one phase of the run.
type Usage struct {
	Phase  string   `json:"phase"`
	Begin  Duration `json:"begin_s"` // since the origin
	Took   Duration `json:"took_s"`
	User   Duration `json:"user_s"`   // CPU time in user space
	System Duration `json:"system_s"` // CPU time in the kernel

	RSSBytes    int64 `json:"rss_bytes,omitempty"`      // at the phase's end
	RSSPeak     int64 `json:"rss_peak_bytes,omitempty"` // largest of the samples in it, summed over the processes
	PSSBytes    int64 `json:"pss_bytes,omitempty"`      // at its end; shared pages count in part
	Threads     int   `json:"threads,omitempty"`        // at its end
	Descriptors int   `json:"descriptors,omitempty"`    // at its end
	// More is what the processes say of themselves at the phase's end: goroutines,
	// heap_bytes, redis_used_bytes, ...
	More map[string]float64 `json:"more,omitempty"`
}

// MoreStolen is, of the role "others", CPU time that the hypervisor gave to other machines.
const MoreStolen = "stolen_s"

// CPU is the time in user space and kernel.
func (u Usage) CPU() Duration { return u.User + u.System }

// PerHost shares what a role used in a phase among hosts. Memory is what it has at
// the phase's end above what it had at the end of its first phase.
func (p Process) PerHost(phase, hosts int) (cpu Duration, bytes int64) {
	if hosts <= 0 || phase < 0 || phase >= len(p.Phases) {
		return 0, 0
	}
	u := p.Phases[phase]
	return u.CPU() / Duration(hosts), (u.RSSBytes - p.Phases[0].RSSBytes) / int64(hosts)
}

// Kernel is what all sockets of the machine took at the end of a phase, which no
// process's memory shows.
type Kernel struct {
	Phase       string `json:"phase"`
	Sockets     int    `json:"sockets"` // TCP, in use
	TimeWait    int    `json:"time_wait"`
	SocketBytes int64  `json:"socket_bytes"` // buffers of TCP
	SlabBytes   int64  `json:"slab_bytes"`   // the kernel's own structures, sockets among them
}

// Figure is a measured value beside the one that the design reaches for.
type Figure struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"` // s, bytes, /s
	Measured float64 `json:"measured"`
	Design   float64 `json:"design,omitempty"` // 0 = the design names none
	More     bool    `json:"more,omitempty"`   // more is better
	Note     string  `json:"note,omitempty"`   // how the two differ in what was measured
}

// What a series measures.
const (
	MetricDone        = "done"        // executions that have reached the step Of
	MetricRate        = "rate"        // executions a second that reached the step Of
	MetricHosts       = "hosts"       // hosts attached by the transport Of
	MetricPolls       = "polls"       // polls a second
	MetricCPU         = "cpu"         // cores that the role Of keeps busy
	MetricRSS         = "rss"         // bytes that the role Of has in memory
	MetricThreads     = "threads"     // of the role Of
	MetricDescriptors = "descriptors" // of the role Of
)

// Series is a value over time.
type Series struct {
	Metric string     `json:"metric"`
	Of     string     `json:"of"`      // which step, role or transport
	Times  []Duration `json:"times_s"` // since the origin, rising
	Values []float64  `json:"values"`  // as many
}

// Add appends a point.
func (s *Series) Add(t time.Duration, v float64) {
	s.Times = append(s.Times, Duration(t))
	s.Values = append(s.Values, v)
}
