package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/client"
)

// crew is a process that carries light hosts, as the suite sees it.
type crew struct {
	*process
	first    crewOrder // its first line
	disk     *disk     // nil = the suite's
	hosts    []string
	busy     sync.Mutex // held by a fault
	linkBusy sync.Mutex // the same, of its hosts' connections

	held  chan string // executions that ran into the trap
	ready chan struct{}
	count chan crewCount

	mu sync.Mutex // guards the following
	in io.WriteCloser
}

// enrolLight registers the light hosts and starts their crews.
func (w *world) enrolLight(ctx context.Context, token string) error {
	modes := []client.Mode{client.ModeAuto, client.ModeSocket, client.ModePoll}
	ways, err := client.NewWays([]string{w.gateways[0].url}, client.Network{Proxy: "direct"})
	if err != nil {
		return err
	}
	defer ways.CloseIdle()
	for k := range w.cfg.Crews {
		name := fmt.Sprintf("crew-%d", k+1)
		c := &crew{
			process: &process{name: name, path: w.cfg.Crew[0], args: w.cfg.Crew[1:], log: filepath.Join(w.logs, name+".log")},
			first:   crewOrder{Dir: filepath.Join(w.hostsDir(), name), Trace: w.trace, Identity: w.identity, Machine: "machine of " + name, Keep: keepOutput},
		}
		c.complete()
		if c.disk, err = w.newDisk(c.first.Dir, crewDisk); err != nil {
			return err
		}
		for i := k; i < w.cfg.Light; i += w.cfg.Crews {
			id := w.identity.Host(i)
			if _, err := client.Register(ctx, ways, token, id, w.identity.Key(i)); err != nil {
				return fmt.Errorf("enrol %s: %w", id, err)
			}
			urls, err := w.relays(id, i)
			if err != nil {
				return err
			}
			c.first.Hosts = append(c.first.Hosts, crewHost{Number: i, Gateways: urls, Mode: modes[i/w.cfg.Crews%len(modes)]})
			c.hosts = append(c.hosts, id)
		}
		w.crews = append(w.crews, c)
		if err := c.begin(ctx); err != nil {
			return err
		}
	}
	return nil
}

// complete makes what a crew needs before it begins.
func (c *crew) complete() {
	c.held, c.ready, c.count = make(chan string, 1), make(chan struct{}, 1), make(chan crewCount, 1)
	c.attach = c.listen
}

// crewDisk is the size of a crew's disk.
const crewDisk = 512 << 20

// keepOutput is how long agents keep what is stored: longer than what a failover loses.
const keepOutput = time.Minute

// begin starts the process and waits until its hosts begin to connect.
func (c *crew) begin(ctx context.Context) error {
	select {
	case <-c.ready: // of a life before
	default:
	}
	if err := c.start(); err != nil {
		return err
	}
	_, done := c.life()
	select {
	case <-c.ready:
		return nil
	case <-done:
		return fmt.Errorf("%s ended at its start: %w", c.name, errOr(c.ended()))
	case <-ctx.Done():
		return fmt.Errorf("%s isn't ready: %w", c.name, context.Cause(ctx))
	}
}

// listen gives the first order, and takes notices until the process ends.
func (c *crew) listen(in io.WriteCloser, out io.Reader) {
	c.mu.Lock()
	c.in = in
	c.mu.Unlock()
	c.tell(c.first)
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		var n crewNotice
		if json.Unmarshal(sc.Bytes(), &n) != nil {
			continue
		}
		switch {
		case n.Ready:
			offer(c.ready, struct{}{})
		case n.Held != "":
			offer(c.held, n.Held)
		case n.Count != nil:
			offer(c.count, *n.Count)
		}
	}
	in.Close()
}

// offer leaves a value for whoever asks next, instead of an older one.
func offer[T any](ch chan T, v T) {
	for {
		select {
		case ch <- v:
			return
		default:
		}
		select {
		case <-ch:
		default:
		}
	}
}

func (c *crew) tell(o crewOrder) {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // of plain values
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.Write(append(b, '\n')) //nolint:errcheck // it may have been killed
}

// catch sets a trap and waits until an execution is in it; "" if none came in time.
func (c *crew) catch(ctx context.Context, p point, hosts []string, patience time.Duration) string {
	select {
	case <-c.held:
	default:
	}
	c.tell(crewOrder{Do: doArm, Trap: trap{Point: p, Hosts: hosts, Bound: 5 * time.Second}})
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case x := <-c.held:
		return x
	case <-t.C:
	case <-ctx.Done():
	}
	return ""
}

func (c *crew) release() { c.tell(crewOrder{Do: doRelease}) }

func (c *crew) counts(ctx context.Context) (crewCount, error) {
	c.tell(crewOrder{Do: doCount})
	select {
	case n := <-c.count:
		return n, nil
	case <-ctx.Done():
		return crewCount{}, context.Cause(ctx)
	}
}

// end has it disconnect its hosts and end.
func (c *crew) end(ctx context.Context) error {
	if !c.running() {
		return fmt.Errorf("%s had ended before: %w", c.name, errOr(c.ended()))
	}
	_, done := c.life()
	c.tell(crewOrder{Do: doStop})
	select {
	case <-done:
	case <-ctx.Done():
		c.kill()
		return fmt.Errorf("%s didn't end when it was told to", c.name)
	}
	if err := c.ended(); err != nil {
		return fmt.Errorf("%s ended badly: %w", c.name, err)
	}
	return nil
}

// real is a rexagent with its supervisors.
type real struct {
	*process
	host, dir string
	busy      sync.Mutex // held by a fault
	linkBusy  sync.Mutex
	ownDisk   bool
	mounted   bool
}

// newReal enrols a host with a state directory of its own, and starts its agent.
func (w *world) newReal(ctx context.Context, i int, token string) (*real, error) {
	r := &real{host: fmt.Sprintf("real-%03d", i), ownDisk: w.cfg.Disks}
	r.dir = filepath.Join(w.hostsDir(), r.host)
	if err := os.MkdirAll(r.dir, 0o711); err != nil {
		return nil, err
	}
	if err := r.mount(); err != nil {
		return nil, err
	}
	urls, err := w.relays(r.host, i)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.cfg.Dir, "enrol")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, err
	}
	enrol := exec.CommandContext(ctx, w.cfg.Rexagent, "enroll", "--state-dir", r.dir, "--token-file", file, "--host", r.host)
	enrol.Env = cleanEnv()
	if out, err := enrol.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("enrol %s: %w: %s", r.host, err, out), r.unmount())
	}
	args := []string{"run", "--state-dir", r.dir, "--allow-root", "--keep-output", keepOutput.String(), "--slots", "default=2"}
	if i%3 == 2 {
		args = append(args, "--transport", "poll")
	}
	for _, u := range urls {
		args = append(args, "--gateway", u)
	}
	r.process = &process{name: r.host, path: w.cfg.Rexagent, args: args, log: filepath.Join(w.logs, r.host+".log")}
	return r, r.start()
}

// realDisk is the size of a real host's disk.
const realDisk = 16 << 20

// mount gives the host a disk of its own, in memory, which can be filled.
func (r *real) mount() error {
	if !r.ownDisk {
		return nil
	}
	err := syscall.Mount("tmpfs", r.dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d,mode=0711", realDisk))
	if err != nil {
		return fmt.Errorf("a disk for %s: %w", r.host, err)
	}
	r.mounted = true
	return nil
}

func (r *real) unmount() error {
	if !r.mounted {
		return nil
	}
	r.mounted = false
	return syscall.Unmount(r.dir, syscall.MNT_DETACH)
}
