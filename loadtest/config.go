package loadtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
	"github.com/rexgate/rexgate/loadtest/stand"
)

// Config says what Run does. Scenario, Worker and either Server or Stand are needed.
type Config struct {
	Scenario Scenario
	Hosts    int           // 0 = the scenario's
	Mix      Mix           // nil = the scenario's
	For      time.Duration // how long idle hosts are watched; 0 = the scenario's
	// Settle is how long hosts that are connected are left alone before a job; 0 = 2 s.
	Settle time.Duration
	// PollWait is how long a poll asks to be held: 0 = the scenario's, negative = not at all.
	PollWait time.Duration

	// Server is the URL of a service that runs already; "" = Stand is started. Token gives its operator's
	// token, CA is a PEM file to trust, Gateways are further URLs for the hosts.
	Server   string
	Token    func() (string, error)
	CA       string
	Gateways []string
	// Metrics are URLs of the admin listeners of Server's gateways, if they are to be sampled.
	Metrics []string
	// PlainHTTP permits an http:// Server that isn't on loopback.
	PlainHTTP bool
	Stand     stand.Config
	// Admission leaves the admission of the gateways of Stand as it is by default, instead of opening it.
	Admission bool

	// Real runs scripts as supervised processes. Volatile keeps the journals of simulated hosts in memory instead of files.
	Real     bool
	Volatile bool
	// Dir is where the hosts' state is kept, in a fresh directory that is removed afterwards; "" = DefaultDir().
	Dir string
	// State keeps the fleet's identity for another run against the same Server; "" = a new fleet, which is deleted afterwards.
	State string

	Worker  []string // the command that is a worker: see Worker
	Workers int      // at least so many; 0 = as many as descriptors need
	// ConnectRate is how many hosts begin to connect in a second; 0 = 1000.
	ConnectRate float64
	// CheckOutput is the number of executions whose output is read and compared; 0 = 200, negative = all.
	CheckOutput int
	// Patience bounds each wait of the run: for the hosts to be online, for the job to be done beyond the time that
	// its script takes. 0 = 5 minutes.
	Patience time.Duration

	// Profile is a directory for profiles of the gateways and the workers: of the CPU from the submit on, and of the
	// heap; "" = none. They take some of the CPU themselves.
	Profile string

	Progress      io.Writer     // gets lines; nil = none
	ProgressEvery time.Duration // 0 = 1 s

	Command []string // that makes the same run, for the report
	Version string   // of the load generator
}

func (c *Config) complete() error {
	if c.Scenario.do == nil {
		return errors.New("no scenario")
	}
	if c.Scenario.Script == "" {
		return errors.New("the scenario has no script")
	}
	if _, err := ParseScript(c.Scenario.Script); err != nil && !c.Real {
		return err
	}
	if len(c.Worker) == 0 {
		return errors.New("no command of a worker")
	}
	if c.Hosts == 0 {
		c.Hosts = c.Scenario.Hosts
	}
	if c.Hosts < 1 || c.Hosts > maxHosts {
		return fmt.Errorf("%d hosts: from 1 to %d are possible", c.Hosts, maxHosts)
	}
	if c.Mix == nil {
		var err error
		if c.Mix, err = ParseMix(c.Scenario.Mix); err != nil {
			return err
		}
	}
	if c.State != "" && c.Server == "" {
		return errors.New("a fleet can be kept for a service that stays, not for one that is started for the run")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.For, c.Scenario.For)
	def(&c.PollWait, c.Scenario.PollWait)
	def(&c.Settle, 2*time.Second)
	def(&c.Patience, 5*time.Minute)
	def(&c.ProgressEvery, time.Second)
	if c.ConnectRate <= 0 {
		c.ConnectRate = 1000
	}
	if c.CheckOutput == 0 {
		c.CheckOutput = 200
	}
	if c.Dir == "" {
		c.Dir = DefaultDir()
	}
	if c.Profile != "" {
		if err := os.MkdirAll(c.Profile, 0o755); err != nil {
			return err
		}
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return nil
}

// maxHosts is what host ids and source addresses have room for.
const maxHosts = 99_999 + 1

// DefaultDir is where hosts' state is kept if nothing else is said: memory, where the machine has it as a
// file system, for thousands of hosts on one disk would measure that disk.
func DefaultDir() string {
	const shm = "/dev/shm"
	if report.FileSystem(shm) == "tmpfs" {
		if err := syscall.Access(shm, 2); err == nil {
			return shm
		}
	}
	return os.TempDir()
}

// Descriptors of a worker: what a host takes, and what is left for the rest.
const (
	hostDescriptors = 1 // its connection
	diskDescriptors = 1 // its journal
	realDescriptors = 6 // a running script: the supervisor's socket, frames, and what forking takes for a moment
	restDescriptors = 500
	mostDescriptors = 20_000 // a process on common machines isn't meant to hold more
)

// capacity is how many hosts a worker can carry.
func (c *Config) capacity(limit uint64) (int, error) {
	each := hostDescriptors * c.Mix.connections()
	if !c.Volatile || c.Real {
		each += diskDescriptors
	}
	if c.Real {
		each += realDescriptors
	}
	n := (int(min(limit, mostDescriptors)) - restDescriptors) / each
	if n < 1 {
		return 0, fmt.Errorf("a process may hold %d descriptors only: raise the limit (ulimit -n)", limit)
	}
	return n, nil
}

// workers is how many there must be.
func (c *Config) workers() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	each, err := c.capacity(l.Max) // the Go runtime raises the soft limit to it
	if err != nil {
		return 0, err
	}
	return max(c.Workers, (c.Hosts+each-1)/each, 1), nil
}
