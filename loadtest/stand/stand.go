package stand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// Stores.
const (
	SQLite = "sqlite"
	Redis  = "redis"
)

// Config says what Start puts up. Rexgate and Store are needed; zero values of the rest are the defaults.
type Config struct {
	Rexgate  string // the program, as a path or a name on PATH
	Store    string // SQLite or Redis
	Gateways int    // default 1; SQLite serves one only
	TLS      bool   // gateways speak TLS with a certificate of a CA made for the run

	// Dir is where the run's folder is made, with the store in it; default the folder for
	// temporary files. What disk it is on is part of the result.
	Dir string
	// Args are further flags of "rexgate serve"; they win over those that the stand gives. See OpenAdmission.
	Args []string

	RedisServer string   // the program; default redis-server
	RedisArgs   []string // further arguments; they win over append-only file, everysec and noeviction

	// StopTime bounds how long Close gives the gateways, and then the store; default 15 s each.
	StopTime time.Duration
}

// OpenAdmission are settings with which a gateway admits all hosts at once and polls at
// this rate, for runs that measure what comes after admission: its defaults, 60,000 hosts a
// minute and 2,000 polls a second, would be what is measured. pollRate <= 0 leaves the default.
func OpenAdmission(hosts int, pollRate float64) []string {
	args := []string{fmt.Sprintf("--reconnect-hosts=%d", max(hosts, 1)), "--reconnect-window=1s"}
	if pollRate > 0 {
		args = append(args, fmt.Sprintf("--poll-rate=%g", pollRate))
	}
	return args
}

// Stand is a service for one run. Its fields aren't changed.
type Stand struct {
	URLs      []string // of the gateways
	AdminURLs []string // of their metrics, in the same order
	CA        string   // PEM file of the CA that signed the gateways' certificates; "" without TLS
	Token     string   // file with an operator's token that may do everything, good for a day
	Redis     string   // host:port; "" with SQLite
	Dir       string   // the run's folder; Close removes it

	config   Config
	version  string
	gateways []*child
	redis    *child
	failed   chan struct{} // closed when a process ended that wasn't asked to
	fail     sync.Once
	stopping chan struct{}
	watching sync.WaitGroup
	closing  sync.Once
	closed   error
}

// Start puts a stand up, and returns when all of it is ready. ctx bounds the start only;
// a stand that was started is ended by Close. On an error nothing is left.
func Start(ctx context.Context, c Config) (_ *Stand, err error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("stand: %w", err)
	}
	s := &Stand{config: c, failed: make(chan struct{}), stopping: make(chan struct{})}
	if s.Dir, err = os.MkdirTemp(c.Dir, "rexgate-stand-"); err != nil {
		return nil, fmt.Errorf("stand: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		err = fmt.Errorf("stand: %w", err)
		_ = s.Close() // what it says follows from err
	}()
	if c.Store == Redis {
		if err := s.startRedis(ctx); err != nil {
			return nil, err
		}
	}
	args, err := s.serveArgs()
	if err != nil {
		return nil, err
	}
	// One after the other: the first makes the operators' key that the others share.
	for i := range c.Gateways {
		if err := s.startGateway(ctx, i, args); err != nil {
			return nil, err
		}
	}
	return s, s.makeToken(ctx)
}

// complete checks the settings and fills in defaults.
func (c *Config) complete() (err error) {
	if c.Store != SQLite && c.Store != Redis {
		return fmt.Errorf("store %q is neither %s nor %s", c.Store, SQLite, Redis)
	}
	if c.Gateways == 0 {
		c.Gateways = 1
	}
	if c.Gateways < 0 || c.Store == SQLite && c.Gateways != 1 {
		return fmt.Errorf("%d gateways: the store %s serves one", c.Gateways, c.Store)
	}
	if c.Rexgate, err = program(c.Rexgate); err != nil {
		return fmt.Errorf("rexgate: %w", err)
	}
	if c.RedisServer == "" {
		c.RedisServer = "redis-server"
	}
	if c.Store == Redis {
		if c.RedisServer, err = program(c.RedisServer); err != nil {
			return fmt.Errorf("the store: %w", err)
		}
	}
	if c.StopTime <= 0 {
		c.StopTime = 15 * time.Second
	}
	return nil
}

// Failed is closed when a process of the stand ended by itself; Close says which.
func (s *Stand) Failed() <-chan struct{} { return s.failed }

// watch tells when a child ends before its time.
func (s *Stand) watch(c *child) {
	s.watching.Go(func() {
		select {
		case <-c.done:
			s.fail.Do(func() { close(s.failed) })
		case <-s.stopping:
		}
	})
}

// Close ends the gateways, all at once, and then the store, each in good order within the stop time,
// and removes the run's folder. It returns when all processes are gone. The error tells which of them ended
// badly, or before, and what it wrote at last. Closing again gives the same answer.
func (s *Stand) Close() error {
	s.closing.Do(func() {
		close(s.stopping)
		s.watching.Wait()
		errs := make([]error, len(s.gateways))
		ctx, cancel := context.WithTimeout(context.Background(), s.config.StopTime)
		defer cancel()
		var wg sync.WaitGroup
		for i, g := range s.gateways {
			wg.Go(func() { errs[i] = g.stop(ctx) })
		}
		wg.Wait()
		if s.redis != nil {
			ctx, cancel := context.WithTimeout(context.Background(), s.config.StopTime)
			defer cancel()
			errs = append(errs, s.redis.stop(ctx))
		}
		s.closed = errors.Join(append(errs, os.RemoveAll(s.Dir))...)
	})
	return s.closed
}

// Targets are the stand's processes, for a Sampler.
func (s *Stand) Targets() []Target {
	var all []Target
	for i, g := range s.gateways {
		all = append(all, Target{Role: report.RoleGateway, PID: g.pid(), Metrics: s.AdminURLs[i]})
	}
	if s.redis != nil {
		// The rewrite of the append-only file is done by children of the server's.
		all = append(all, Target{Role: report.RoleStore, PID: s.redis.pid(), Children: true, Redis: s.Redis})
	}
	return all
}

// Describe says what the stand is made of. It asks Redis for its settings.
func (s *Stand) Describe(ctx context.Context) (report.Stand, error) {
	d := report.Stand{
		Rexgate: s.version, Gateways: len(s.gateways), GatewayArgs: s.config.Args, TLS: s.config.TLS,
		Store: s.config.Store, StoreDisk: report.FileSystem(s.Dir),
	}
	var err error
	if s.config.Store == Redis {
		d.StoreVersion, d.StoreSettings, err = describeRedis(ctx, s.Redis)
	} else {
		d.StoreVersion, d.StoreSettings, err = describeSQLite(s.config.Rexgate, filepath.Join(s.dataDir(), sqliteFile))
	}
	if err != nil {
		return d, fmt.Errorf("stand: %w", err)
	}
	return d, nil
}

func (s *Stand) dataDir() string { return filepath.Join(s.Dir, "data") }
