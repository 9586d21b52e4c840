package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/queue"
)

// world is all that runs.
type world struct {
	cfg   Config
	trace string
	logs  string

	redis    *redisPair // nil = SQLite
	disks    []*disk    // that exist
	storeOn  *disk      // of SQLite's file; nil = it is on the suite's
	gateways []*gate
	crews    []*crew
	reals    []*real
	identity loadtest.Identity
	links    map[string][]*relay // by host: one for each gateway
	calm     int                 // goroutines of a gateway that nobody is connected to
	arrows   map[[2]queue.State]bool
	doubles  doubles
}

// gate is a gateway.
type gate struct {
	*process
	url, admin string
	op         *operator.Client
	store      *relay     // its way to Redis; nil = SQLite
	busy       sync.Mutex // held by a fault
	linkBusy   sync.Mutex // the same, of its way to Redis
}

// newWorld starts everything, and waits until all hosts are online.
func newWorld(ctx context.Context, c Config) (w *world, err error) {
	w = &world{cfg: c, doubles: doubles{may: map[string]bool{}, left: map[string]bool{}}, trace: filepath.Join(c.Dir, "trace"), logs: filepath.Join(c.Dir, "logs"), links: map[string][]*relay{}, arrows: reachable()}
	defer func() {
		if err != nil {
			w.abandon()
		}
	}()
	for _, dir := range []string{w.logs, w.hostsDir(), w.twinsDir(), w.dataDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	if c.Store == SQLite {
		if w.storeOn, err = w.newDisk(w.dataDir(), storeDisk); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(w.trace, nil, 0o666); err != nil {
		return nil, err
	}
	gateways := 1
	if c.Store == Redis {
		gateways = 2
		if w.redis, err = newRedis(ctx, w); err != nil {
			return nil, err
		}
	}
	for i := range gateways {
		g, err := w.newGate(i)
		if err != nil {
			return nil, err
		}
		w.gateways = append(w.gateways, g)
		if err := w.up(ctx, g); err != nil {
			return nil, err
		}
	}
	if err := w.operators(ctx); err != nil {
		return nil, err
	}
	if w.calm, err = goroutines(ctx, w.gateways[0].admin); err != nil {
		return nil, err
	}
	return w, w.populate(ctx)
}

func (w *world) dataDir() string  { return filepath.Join(w.cfg.Dir, "data") }
func (w *world) hostsDir() string { return filepath.Join(w.cfg.Dir, "hosts") }
func (w *world) twinsDir() string { return filepath.Join(w.cfg.Dir, "twins") }

// storeDisk is the size of the disk of SQLite's file.
const storeDisk = 2 << 30

// newDisk gives a directory a disk of its own, if there are disks; nil if not, and the directory is made.
func (w *world) newDisk(dir string, size int64) (*disk, error) {
	if !w.cfg.Disks {
		return nil, os.MkdirAll(dir, 0o711)
	}
	d, err := newDisk(dir+".img", dir, size)
	if d != nil {
		w.disks = append(w.disks, d)
	}
	return d, err
}

// storeAt is what OpenStore is given.
func (w *world) storeAt() string {
	if w.redis != nil {
		return w.redis.master().addr
	}
	return filepath.Join(w.dataDir(), "rexgate.db")
}

func (w *world) newGate(i int) (*gate, error) {
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("gateway-%d", i+1)
	g := &gate{url: "http://" + listen, admin: "http://" + admin}
	g.process = &process{
		name: name, path: w.cfg.Rexgate, log: filepath.Join(w.logs, name+".log"),
		args: []string{"serve", "--data-dir", w.dataDir(), "--listen", listen, "--admin-listen", admin, "--name", name,
			"--lease-ttl", "5s", "--poll-interval", "1s", "--drain-time", "5s", "--log-level", "warn"},
	}
	if w.redis != nil {
		if g.store, err = newRelay(name+"-redis", w.redis.master().addr, true); err != nil {
			return nil, err
		}
		g.args = append(g.args, "--redis", "redis://"+g.store.addr()+"/0")
	}
	return g, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// up starts a gateway and waits until it is ready. One that ends at its start, since its store is away, is started again.
func (w *world) up(ctx context.Context, g *gate) error {
	for {
		if !g.running() {
			if err := g.start(); err != nil {
				return err
			}
		}
		if get(ctx, g.url+"/readyz") == nil {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s isn't ready: %w", g.name, err)
		}
	}
}

// operators makes a token, and each gateway's client.
func (w *world) operators(ctx context.Context) error {
	token := filepath.Join(w.cfg.Dir, "token")
	cmd := exec.CommandContext(ctx, w.cfg.Rexgate, "token", "operator", "--data-dir", w.dataDir(), "--subject", "faults", "--ttl", "168h", "--out", token)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("an operator's token: %w: %s", err, out)
	}
	for _, g := range w.gateways {
		var err error
		if g.op, err = operator.New(operator.Options{Server: g.url, Token: operator.TokenFile(token), RetryFor: time.Minute}); err != nil {
			return err
		}
	}
	return nil
}

// populate makes the hosts, and waits until they are online.
func (w *world) populate(ctx context.Context) error {
	w.identity = loadtest.Identity{Name: "light", Seed: []byte("the keys of a world that lasts minutes")}
	t, err := w.gateways[0].op.EnrollToken(ctx, api.EnrollTokenRequest{Uses: w.cfg.Light + w.cfg.Real, TTL: api.Duration(time.Hour)})
	if err != nil {
		return fmt.Errorf("an enrolment token: %w", err)
	}
	if err := w.enrolLight(ctx, t.Token); err != nil {
		return err
	}
	for i := range w.cfg.Real {
		r, err := w.newReal(ctx, i, t.Token)
		if err != nil {
			return err
		}
		w.reals = append(w.reals, r)
	}
	return w.online(ctx)
}

// online waits until all hosts are.
func (w *world) online(ctx context.Context) error {
	for {
		online := 0
		for h, err := range w.gateways[0].op.Hosts(ctx, operator.HostQuery{Limit: 1000}) {
			if err != nil {
				return err
			}
			if h.Online {
				online++
			}
		}
		if online == w.cfg.Light+w.cfg.Real {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d hosts are online: %w", online, w.cfg.Light+w.cfg.Real, err)
		}
	}
}

// relays gives a host its own ways to the gateways, beginning with another one each.
func (w *world) relays(host string, n int) (urls []string, err error) {
	for i := range w.gateways {
		g := w.gateways[(n+i)%len(w.gateways)]
		r, err := newRelay(host, g.url[len("http://"):], false)
		if err != nil {
			return nil, err
		}
		w.links[host] = append(w.links[host], r)
		urls = append(urls, "http://"+r.addr())
	}
	return urls, nil
}

// hosts gives the ids of all.
func (w *world) hosts() (light, real []string) {
	for i := range w.cfg.Light {
		light = append(light, w.identity.Host(i))
	}
	for _, r := range w.reals {
		real = append(real, r.host)
	}
	return light, real
}

// abandon ends all processes at once.
func (w *world) abandon() {
	for _, c := range w.crews {
		c.kill()
	}
	for _, r := range w.reals {
		r.kill()
	}
	for _, g := range w.gateways {
		g.kill()
		if g.store != nil {
			g.store.close()
		}
	}
	if w.redis != nil {
		w.redis.close()
	}
	for _, rs := range w.links {
		for _, r := range rs {
			r.close()
		}
	}
	for _, pid := range w.leftovers() {
		killLeftover(pid)
	}
	for _, r := range w.reals {
		r.unmount() //nolint:errcheck // the run has failed already
	}
	for _, d := range w.disks {
		d.drop()
	}
}

// stopHosts ends all agents in good order.
func (w *world) stopHosts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(w.crews)+len(w.reals))
	for i, c := range w.crews {
		wg.Go(func() { errs[i] = c.end(ctx) })
	}
	for i, r := range w.reals {
		wg.Go(func() { errs[len(w.crews)+i] = r.stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
