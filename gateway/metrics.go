package gateway

import (
	"context"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rexgate/rexgate/gateway/limits"
	"github.com/rexgate/rexgate/queue"
)

// metrics are a gateway's figures. Labels are routes, classes and codes: few, and never a host
// or a job.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	problems *prometheus.CounterVec
	refused  *prometheus.CounterVec
	sweeps   *prometheus.CounterVec
	repairs  prometheus.Counter
	upgrades prometheus.Counter
	watches  watchMetrics
}

func newMetrics(g *Gateway) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("rexgate_requests_total", "Requests answered, by route and status.", "route", "status"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rexgate_request_seconds", Help: "Time to answer a request, held ones included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rexgate_requests_in_flight", Help: "Requests being answered, held ones included."}, []string{"route"}),
		problems: counter("rexgate_problems_total", "Requests answered with a problem, by route and code.", "route", "code"),
		refused:  counter("rexgate_refused_total", "Requests refused by a limit: of their class, or of one identity.", "class", "limit"),
		sweeps:   counter("rexgate_swept_total", "What sweeps of this gateway did to executions and jobs.", "what"),
		repairs:  prometheus.NewCounter(prometheus.CounterOpts{Name: "rexgate_repairs_total", Help: "Differences between records and what is derived from them, repaired."}),
		watches:  newWatchMetrics(),
		upgrades: prometheus.NewCounter(prometheus.CounterOpts{Name: "rexgate_upgrades_failed_total", Help: "WebSocket upgrades of hosts that failed."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.inFlight, m.problems, m.refused, m.sweeps, m.repairs, m.upgrades,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newStoreCollector(g.store))
	m.registry.MustRegister(sessionGauges(g)...)
	m.registry.MustRegister(m.watches.all()...)
	return m
}

// begin counts a request; the function it gives ends it.
func (m *metrics) begin(rt *route) func(status int) {
	began := time.Now()
	m.inFlight.WithLabelValues(rt.name).Inc()
	return func(status int) {
		m.inFlight.WithLabelValues(rt.name).Dec()
		m.requests.WithLabelValues(rt.name, strconv.Itoa(status)).Inc()
		m.seconds.WithLabelValues(rt.name).Observe(time.Since(began).Seconds())
	}
}

func (m *metrics) problem(rt *route, code string) { m.problems.WithLabelValues(rt.name, code).Inc() }

func (m *metrics) refusedClass(c limits.Class) { m.refused.WithLabelValues(string(c), "all").Inc() }

func (m *metrics) refusedEach(c limits.Class) { m.refused.WithLabelValues(string(c), "each").Inc() }

func (m *metrics) upgradeFailed() { m.upgrades.Inc() }

func (m *metrics) repaired(n int) { m.repairs.Add(float64(n)) }

func (m *metrics) swept(s queue.Swept) {
	for what, n := range map[string]int{"lapsed": s.Lapsed, "expired": s.Expired, "due": s.Due, "lost": s.Lost, "ended": s.Ended, "deleted": s.Deleted} {
		m.sweeps.WithLabelValues(what).Add(float64(n))
	}
}

// storeCollector reads the store's room when metrics are asked for.
type storeCollector struct {
	store       queue.Keeper
	used, limit *prometheus.Desc
}

func newStoreCollector(s queue.Keeper) *storeCollector {
	return &storeCollector{store: s,
		used:  prometheus.NewDesc("rexgate_store_used_bytes", "Room that the store uses.", nil, nil),
		limit: prometheus.NewDesc("rexgate_store_limit_bytes", "Room that the store has; 0 = not bounded.", nil, nil),
	}
}

func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.used; ch <- c.limit }

func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	used, limit, err := c.store.Room(ctx)
	if err != nil {
		return // a figure that isn't known is left out
	}
	ch <- prometheus.MustNewConstMetric(c.used, prometheus.GaugeValue, float64(used))
	ch <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(limit))
}

// Admin serves /metrics and /debug/pprof, for a listener that only operators of the gateway reach.
func (g *Gateway) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}
