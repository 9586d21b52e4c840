package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
)

// doubles is what the suite knows of hosts that are two machines, or seem to be.
type doubles struct {
	mu   sync.Mutex      // guards the following
	may  map[string]bool // hosts that had two journals: they may be duplicates
	left map[string]bool // hosts that a fault resolves by itself
	idle []idleTime
}

// idleTime is when a host was a duplicate: it is to get no work.
type idleTime struct {
	host string
	window
}

// may notes that hosts may be duplicates from now on.
func (w *world) mayDouble(hosts ...string) {
	w.doubles.mu.Lock()
	defer w.doubles.mu.Unlock()
	for _, h := range hosts {
		w.doubles.may[h] = true
	}
}

// leave says who resolves a host's duplicate.
func (w *world) leave(host string, alone bool) {
	w.doubles.mu.Lock()
	defer w.doubles.mu.Unlock()
	w.doubles.may[host] = true
	w.doubles.left[host] = alone
}

// resolveDoubles is an operator who sees to it that each identity has one machine: what is marked is resolved, and the machine is told to come
// back. A mark without two journals is a violation.
func (r *run) resolveDoubles(ctx context.Context, g *gate) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for h, err := range g.op.Hosts(ctx, operator.HostQuery{Limit: 1000}) {
		if err != nil {
			return // a fault; there is a next time
		}
		if h.DuplicateSince == nil {
			continue
		}
		d := &r.w.doubles
		d.mu.Lock()
		may, left := d.may[h.ID], d.left[h.ID]
		d.mu.Unlock()
		if left {
			continue
		}
		if !may {
			r.note(violation{"duplicate for a reason", h.ID, fmt.Sprintf("marked since %v, and has one journal", h.DuplicateSince)})
		}
		if v := r.w.realHost(h.ID); v == nil {
			if _, err := g.op.PatchHost(ctx, h.ID, api.HostPatch{ResolveDuplicate: true}); err == nil {
				for _, c := range r.w.crews {
					c.tell(crewOrder{Do: doRouse, Host: h.ID})
				}
			}
		} else if v.busy.TryLock() { // else a fault is at it, and there is a next time
			if _, err := g.op.PatchHost(ctx, h.ID, api.HostPatch{ResolveDuplicate: true}); err == nil {
				v.kill()
				if err := v.start(); err != nil {
					r.note(violation{"stays up", v.name, err.Error()})
				}
			}
			v.busy.Unlock()
		}
	}
}

// realHost finds one; nil = it is a light one.
func (w *world) realHost(id string) *real {
	for _, v := range w.reals {
		if v.host == id {
			return v
		}
	}
	return nil
}

// aTwin strikes the identity of one light host.
func aTwin(w *world, f fault) victim {
	v := aCrew(w, f)
	v.hosts = []string{v.crew.hosts[f.How>>8%uint64(len(v.crew.hosts))]}
	v.name, v.ends = v.hosts[0], v.crew.hosts
	return v
}

// newTwin makes a second machine with a host's identity, whose connections pass no relay. It isn't started.
func (r *run) newTwin(f fault, v victim, machine string) *crew {
	name := "twin-" + strconv.Itoa(f.N)
	c := &crew{
		process: &process{name: name, path: r.w.cfg.Crew[0], args: r.w.cfg.Crew[1:], log: filepath.Join(r.w.logs, "twins.log")},
		first:   crewOrder{Dir: filepath.Join(r.w.twinsDir(), name), Trace: r.w.trace, Identity: r.w.identity, Machine: machine, Keep: keepOutput},
		hosts:   v.hosts,
	}
	c.complete()
	for _, h := range v.crew.first.Hosts {
		if r.w.identity.Host(h.Number) == v.hosts[0] {
			h.Gateways, h.Mode = nil, client.ModeAuto
			for i := range r.w.gateways {
				h.Gateways = append(h.Gateways, r.w.gateways[(i+int(f.How))%len(r.w.gateways)].url)
			}
			c.first.Hosts = append(c.first.Hosts, h)
		}
	}
	return c
}

// twinPatience is how long a fault waits for what two machines are to bring about, while other faults may be in the way.
const twinPatience = 5 * time.Second

// twins has a second machine with a host's identity beside the first: neither gets work until one of them is ended, and an operator
// has resolved it.
func twins(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	host := v.hosts[0]
	r.w.leave(host, true)
	t := r.newTwin(f, v, "another machine")
	since, err := time.Time{}, t.begin(ctx)
	if err == nil {
		since, err = r.marked(ctx, f, host)
	}
	return func(ctx context.Context) error {
		defer r.w.leave(host, false)
		defer os.RemoveAll(t.first.Dir)
		defer t.kill()
		survivor := v.crew
		if f.How&1 == 0 && !since.IsZero() {
			survivor = t
			v.crew.kill()
		} else {
			t.kill()
		}
		if !since.IsZero() {
			r.w.doubles.add(idleTime{host, window{since, time.Now()}})
		}
		if err := r.resolve(ctx, f, host); err != nil {
			return err
		}
		survivor.tell(crewOrder{Do: doRouse, Host: host})
		if survivor == v.crew {
			return nil
		}
		t.awaitUp(ctx)
		if err := pause(ctx, f.Hold); err != nil {
			return err
		}
		t.kill()
		return v.crew.begin(ctx)
	}, err
}

func (d *doubles) add(t idleTime) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.idle = append(d.idle, t)
}

// marked waits until a host is shown as a duplicate.
func (r *run) marked(ctx context.Context, f fault, host string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, twinPatience)
	defer cancel()
	for n := uint64(0); ; n++ {
		if h, err := r.w.gateways[(f.How+n)%uint64(len(r.w.gateways))].host(ctx, host); err == nil && h.DuplicateSince != nil {
			return *h.DuplicateSince, nil
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return time.Time{}, fmt.Errorf("%w: another fault kept the twins apart", errNothing)
		}
	}
}

// host asks for one, and doesn't wait long.
func (g *gate) host(ctx context.Context, id string) (api.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return g.op.Host(ctx, id)
}

// resolve clears a host's mark.
func (r *run) resolve(ctx context.Context, f fault, host string) error {
	for n := uint64(0); ; n++ {
		g := r.w.gateways[(f.How+n)%uint64(len(r.w.gateways))]
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := g.op.PatchHost(one, host, api.HostPatch{ResolveDuplicate: true})
		cancel()
		if err == nil {
			return nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return fmt.Errorf("resolve %s: %w", host, err)
		}
	}
}

// awaitUp waits until its hosts have sessions, or for a while.
func (c *crew) awaitUp(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, twinPatience)
	defer cancel()
	for {
		if n, err := c.counts(ctx); err == nil && n.Up == len(c.hosts) {
			return true
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return false
		}
	}
}

// takenOver has a second machine take a host's place while the first is cut off, work as it, and go; the first comes back with what it did meanwhile.
func takenOver(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	host := v.hosts[0]
	r.w.leave(host, true)
	for _, l := range r.w.links[host] {
		l.cut(true)
	}
	t := r.newTwin(f, v, "another machine")
	err := t.begin(ctx)
	if err == nil && !r.takes(ctx, f, t) {
		err = fmt.Errorf("%w: another fault kept the twin away", errNothing)
	}
	return func(ctx context.Context) error {
		defer r.w.leave(host, false)
		defer os.RemoveAll(t.first.Dir)
		t.kill()
		for _, l := range r.w.links[host] {
			l.cut(false)
		}
		return nil
	}, err
}

// takes waits until a twin has the session. A polling host may seem to be there still: that is resolved.
func (r *run) takes(ctx context.Context, f fault, t *crew) bool {
	ctx, cancel := context.WithTimeout(ctx, twinPatience)
	defer cancel()
	for n := uint64(0); pause(ctx, 20*time.Millisecond) == nil; n++ {
		if c, err := t.counts(ctx); err == nil && c.Up == 1 {
			return true
		}
		g := r.w.gateways[(f.How+n)%uint64(len(r.w.gateways))]
		if h, err := g.host(ctx, t.hosts[0]); err != nil || h.DuplicateSince == nil {
			continue
		}
		if r.resolve(ctx, f, t.hosts[0]) == nil {
			t.tell(crewOrder{Do: doRouse, Host: t.hosts[0]})
		}
	}
	return false
}

// copied starts an agent on a copy of a host's state directory, on another machine: it refuses.
func copied(ctx context.Context, r *run, f fault, v victim) (func(context.Context) error, error) {
	t := r.newTwin(f, v, "another machine")
	host := v.hosts[0]
	defer os.RemoveAll(t.first.Dir)
	if err := os.MkdirAll(filepath.Join(t.first.Dir, host), 0o700); err != nil {
		return nil, err
	}
	journal, err := os.ReadFile(filepath.Join(v.crew.first.Dir, host, "journal"))
	if err == nil {
		err = os.WriteFile(filepath.Join(t.first.Dir, host, "journal"), journal, 0o600)
	}
	if err != nil {
		return nil, err
	}
	err = t.begin(ctx)
	t.kill()
	if err == nil {
		r.note(violation{"a copied state is refused", host, "the agent of another machine took it"})
	} else if why := lastLine(t.log); !strings.Contains(why, "this state directory was copied") {
		r.note(violation{"a copied state is refused", host, "for another reason: " + why})
	}
	return nil, nil
}
