package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/keeper"
	"github.com/rexgate/rexgate/gateway/limits"
	"github.com/rexgate/rexgate/gateway/live"
	"github.com/rexgate/rexgate/gateway/socket"
	"github.com/rexgate/rexgate/poll"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
)

// Config sets a gateway up. Store, Name and Signer are needed; zero values of the rest
// are the defaults.
type Config struct {
	Store  queue.Store
	Name   string // in the store: unique among the gateways that live
	Signer *auth.Signer

	// PublicURL is how hosts and browsers reach the service. It is put into enrolment tokens, and
	// its host is one that pages may come from; with https, cookies are for https only.
	PublicURL string
	// CASHA256 is put into enrolment tokens; see wire.EnrollClaims.
	CASHA256 string

	// ReconnectHosts hosts are to come back within ReconnectWindow after an outage: the
	// rate at which upgrades are admitted, and over which a drain is spread.
	// Default 60,000 in a minute.
	ReconnectHosts  int
	ReconnectWindow time.Duration
	// Limits replaces the limits of single classes.
	Limits map[limits.Class]limits.Limit

	LeaseTTL  time.Duration
	Poll      poll.Config
	Socket    socket.Options
	Keeper    keeper.Config // Driver, Swept, Repaired and Log are set here
	Retention queue.Retention
	Log       *slog.Logger
}

// Gateway serves the routes. Make it with New; its sessions and duties work while Run
// runs.
type Gateway struct {
	config Config
	store  queue.Store
	log    *slog.Logger
	router *mux.Router

	signer *auth.Signer
	codes  auth.Codes
	public *url.URL // nil if not known
	hosts  *auth.Hosts
	gates  map[limits.Class]*limits.Gate
	each   map[limits.Class]*limits.Each
	bodies chan struct{} // large bodies that are read at the same time

	hub    *session.Hub
	polls  *poll.Server
	keeper *keeper.Keeper
	jobs   *live.Feed[queue.JobID, queue.JobStatus]
	runs   *live.Feed[queue.ExecutionID, queue.Execution]
	views  *live.Views
	seats  seats

	metrics  *metrics
	ready    readiness
	draining atomic.Bool
	leave    context.Context // ends when a drain begins: held requests of operators end then
	leaving  context.CancelFunc
}

// New makes a gateway. It opens nothing and starts nothing.
func New(c Config) (*Gateway, error) {
	if c.Store == nil || c.Name == "" || c.Signer == nil {
		return nil, errors.New("gateway: Store, Name and Signer are needed")
	}
	if c.ReconnectHosts <= 0 || c.ReconnectWindow <= 0 {
		c.ReconnectHosts, c.ReconnectWindow = 60_000, time.Minute
	}
	if c.Poll.Rate <= 0 {
		c.Poll.Rate = 2000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	public, err := publicURL(c.PublicURL)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		public: public, config: c, store: c.Store, log: c.Log, signer: c.Signer,
		hosts:  auth.NewHosts(c.Store, auth.HostsConfig{}),
		gates:  map[limits.Class]*limits.Gate{},
		each:   map[limits.Class]*limits.Each{},
		bodies: make(chan struct{}, maxLargeBodies),
	}
	g.leave, g.leaving = context.WithCancel(context.Background())
	g.setLimits()
	g.jobs = live.New(live.Options[queue.JobID, queue.JobStatus]{
		Same: live.SameJob,
		Read: func(ctx context.Context, id queue.JobID, _ queue.JobStatus) (queue.JobStatus, error) {
			return c.Store.Job(ctx, id)
		},
	})
	g.runs = live.New(live.Options[queue.ExecutionID, queue.Execution]{
		Same: sameExecution,
		Read: func(ctx context.Context, id queue.ExecutionID, _ queue.Execution) (queue.Execution, error) {
			job, host, err := id.Split()
			if err != nil {
				return queue.Execution{}, err
			}
			return c.Store.Execution(ctx, job, host)
		},
	})
	g.views = live.NewViews(c.Store)
	g.hub = session.NewHub(c.Store, session.Config{Gateway: c.Name, LeaseTTL: c.LeaseTTL, Recorded: g.recorded, Log: c.Log})
	g.polls = poll.NewServer(g.hub, c.Poll)
	g.metrics = newMetrics(g)
	kc := c.Keeper
	kc.Driver, kc.Retention, kc.Log = c.Name, c.Retention, c.Log
	kc.Swept, kc.Repaired = g.metrics.swept, g.metrics.repaired
	g.keeper = keeper.New(c.Store, kc)
	g.router = g.newRouter()
	return g, nil
}

func (g *Gateway) setLimits() {
	all := limits.Defaults(float64(g.config.ReconnectHosts)/g.config.ReconnectWindow.Seconds(), g.config.Poll.Rate)
	for class, l := range g.config.Limits {
		all[class] = l
	}
	for class, l := range all {
		g.gates[class] = limits.NewGate(l.All, 5*time.Minute)
		g.each[class] = limits.NewEach(l.Each, maxIdentities)
	}
}

// maxIdentities bounds the identities of a class whose use is remembered.
const maxIdentities = 128 << 10

// ServeHTTP serves all routes.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.router.ServeHTTP(w, r) }

// Run makes the gateway work until ctx ends, and returns when everything that it
// started has stopped. It is called once. A failure of a part ends all.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var err error
	wg.Go(func() {
		defer cancel()
		if e := g.hub.Run(ctx); e != nil && ctx.Err() == nil {
			err = e
		}
	})
	wg.Go(func() { g.keeper.Run(ctx) })
	wg.Wait()
	g.leaving()
	g.seats.close()
	g.seats.wait.Wait()
	g.jobs.Close()
	g.runs.Close()
	g.views.Close()
	return err
}

// Drain makes the gateway go: it isn't ready any more, ends the held requests of
// operators, and tells its sessions to come back elsewhere, spread over time by
// their number. It returns when the last session has gone or ctx ends.
func (g *Gateway) Drain(ctx context.Context) {
	g.draining.Store(true)
	g.seats.close()
	g.leaving()
	within := g.drainWithin()
	if end, ok := ctx.Deadline(); ok {
		// Some seconds are left for those who don't go by themselves.
		within = max(time.Second, min(within, time.Until(end)-drainRest))
	}
	g.hub.Drain(ctx, within)
}

// drainRest is the part of a drain's time in which sessions that stayed are closed.
const drainRest = 8 * time.Second

// drainWithin is the time in which this gateway's sessions can come back at the
// rate at which hosts are admitted.
func (g *Gateway) drainWithin() time.Duration {
	share := float64(g.sessions()) / float64(g.config.ReconnectHosts)
	return max(time.Second, min(g.config.ReconnectWindow, time.Duration(share*float64(g.config.ReconnectWindow))))
}

// recorded wakes those who watch what a host has just reported.
func (g *Gateway) recorded(_ queue.HostID, acks []queue.Ack) {
	var last queue.JobID
	for _, a := range acks {
		g.runs.Touch(a.Execution)
		if job, _, err := a.Execution.Split(); err == nil && job != last {
			g.jobs.Touch(job)
			last = job
		}
	}
	g.views.Recorded(acks)
}

// changed wakes those who watch a job that was submitted or cancelled here.
func (g *Gateway) changed(id queue.JobID) {
	g.jobs.Touch(id)
	g.views.Changed(id)
}

func sameExecution(a, b queue.Execution) bool {
	return a.State == b.State && a.Output == b.Output && a.Stored == b.Stored
}
