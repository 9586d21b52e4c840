package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/session/wire"
)

// crewOrder tells a crew what it is, as its first line, and what to do, as each further one.
type crewOrder struct {
	Do string `json:"do,omitempty"` // see below
	// Of the first line.
	Dir      string            `json:"dir,omitempty"`
	Trace    string            `json:"trace,omitempty"`
	Identity loadtest.Identity `json:"identity,omitzero"`
	Hosts    []crewHost        `json:"hosts,omitempty"`
	Machine  string            `json:"machine,omitempty"` // its machine-id
	Keep     time.Duration     `json:"keep,omitempty"`
	// Of doRouse.
	Host string `json:"host,omitempty"`
	// Of doArm.
	Trap trap `json:"trap,omitzero"`
}

type crewHost struct {
	Number   int         `json:"number"`
	Gateways []string    `json:"gateways"` // the relays
	Mode     client.Mode `json:"mode"`
}

// What a crew does.
const (
	doArm     = "arm"
	doRelease = "release"
	doCount   = "count"
	doRouse   = "rouse" // a host's link begins anew, and waits for nothing
	doStop    = "stop"
)

// crewNotice is what a crew says, a line of JSON.
type crewNotice struct {
	Ready bool       `json:"ready,omitempty"`
	Held  string     `json:"held,omitempty"` // the execution in the trap
	Count *crewCount `json:"count,omitempty"`
}

// crewCount is what a crew has left.
type crewCount struct {
	Busy       int   `json:"busy"` // hosts with something in hand
	Goroutines int   `json:"goroutines"`
	Up         int   `json:"up"` // hosts with a session
	Started    int64 `json:"started"`
}

// Crew is the main of a process that carries light hosts. It runs until in ends, or until it is told to stop.
func Crew(in io.Reader, out io.Writer) error {
	orders := bufio.NewReaderSize(in, 1<<20)
	read := func() (o crewOrder, err error) {
		line, err := orders.ReadBytes('\n')
		if err != nil {
			return o, err
		}
		return o, json.Unmarshal(line, &o)
	}
	first, err := read()
	if err != nil {
		return err
	}
	c, err := newCrewMember(first, json.NewEncoder(out))
	if err != nil {
		return err
	}
	c.say(crewNotice{Ready: true})
	for {
		o, err := read()
		if err != nil || o.Do == doStop {
			cerr := c.close()
			if err == io.EOF {
				err = nil
			}
			return errors.Join(err, cerr)
		}
		switch o.Do {
		case doArm:
			c.traps.arm(o.Trap)
		case doRelease:
			c.traps.release()
		case doCount:
			c.say(crewNotice{Count: c.count()})
		case doRouse:
			if wake := c.rouse[o.Host]; wake != nil {
				offer(wake, struct{}{})
			}
		}
	}
}

// crewMember is the inside of a crew's process.
type crewMember struct {
	traps  *traps
	runner *lightRunner
	trace  *tracer
	agents []*agent.Agent
	rouse  map[string]chan struct{} // by host
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex // guards the following
	enc *json.Encoder
	up  map[int]bool
}

func newCrewMember(o crewOrder, enc *json.Encoder) (*crewMember, error) {
	trace, err := openTrace(o.Trace)
	if err != nil {
		return nil, err
	}
	c := &crewMember{trace: trace, enc: enc, up: map[int]bool{}, rouse: map[string]chan struct{}{}}
	c.traps = &traps{held: func(_, execution string) { c.say(crewNotice{Held: execution}) }}
	c.runner = newLightRunner(trace, c.traps)
	boot := fmt.Sprintf("boot-%d-%d", os.Getpid(), time.Now().UnixNano())
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, h := range o.Hosts {
		if err := c.host(ctx, o, h, boot); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// host starts one host.
func (c *crewMember) host(ctx context.Context, o crewOrder, h crewHost, boot string) error {
	id := o.Identity.Host(h.Number)
	dir := filepath.Join(o.Dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})).With("host", id)
	cfg := client.Config{
		Gateways: h.Gateways, Identity: client.NewIdentity(id, o.Identity.Key(h.Number)), Mode: h.Mode,
		Network: client.Network{Proxy: "direct"}, StateFile: filepath.Join(dir, "link.json"), Log: log,
		OnStatus: func(s client.Status) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.up[h.Number] = s.Up
		},
		// A host that lives through a thousand faults comes back sooner than others.
		Timing: client.Timing{BackoffBase: 50 * time.Millisecond, BackoffCap: time.Second, Handshake: 5 * time.Second, Welcome: 5 * time.Second, Request: 5 * time.Second, Wait: 10 * time.Second},
	}
	a, err := agent.New(agent.Config{
		Dir: dir, Runner: c.runner.of(id), Policy: anything{}, Slots: map[string]int{"default": 2},
		Version: "faults", BootID: boot, MachineID: o.Machine, Keep: o.Keep, Log: log,
	})
	if err != nil {
		return err
	}
	c.agents = append(c.agents, a)
	wake := make(chan struct{}, 1)
	c.rouse[id] = wake
	c.wg.Go(func() {
		peer := &trapped{Agent: a, host: id, traps: c.traps, last: map[string]int64{}}
		for ctx.Err() == nil {
			if err := connect(ctx, cfg, peer, wake); err != nil {
				log.Error("the link ended", "err", err)
				return
			}
		}
	})
	return nil
}

// connect keeps a host's link until it is woken, or ctx ends.
func connect(ctx context.Context, cfg client.Config, peer client.Peer, wake <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	link, err := client.NewLink(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx, peer) }()
	select {
	case err := <-ended:
		return err
	case <-wake:
		cancel()
		return <-ended
	}
}

// anything lets a light host play what it is told: nothing is run.
type anything struct{}

func (anything) Check(*wire.Job) error { return nil }

var _ runner.Runner = hostRunner{}

func (c *crewMember) say(n crewNotice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enc.Encode(n) //nolint:errcheck // the parent has ended: so does standard input
}

func (c *crewMember) count() *crewCount {
	n := &crewCount{Goroutines: runtime.NumGoroutine()}
	for _, a := range c.agents {
		if a.Busy() {
			n.Busy++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, up := range c.up {
		if up {
			n.Up++
		}
	}
	return n
}

// close disconnects all, and ends what plays.
func (c *crewMember) close() error {
	c.traps.release()
	c.cancel()
	c.wg.Wait()
	var errs []error
	for _, a := range c.agents {
		errs = append(errs, a.Close())
	}
	c.runner.close()
	return errors.Join(append(errs, c.trace.file.Close())...)
}
