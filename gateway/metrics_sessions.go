package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// sessions is the number of attached sockets.
func (g *Gateway) sessions() int { return g.hub.Stats().Sessions }

// sessionCollector gives the figures of sessions and polls when metrics are asked for.
type sessionCollector struct {
	g                                                     *Gateway
	sockets, held, waiting, parked, credit, watched, due  *prometheus.Desc
	claims, delivered, events, hints, storeErrors, closed *prometheus.Desc
	frames, beyond, polls, pollProblems                   *prometheus.Desc
}

func sessionGauges(g *Gateway) []prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rexgate_"+name, help, labels, nil)
	}
	return []prometheus.Collector{&sessionCollector{
		g:            g,
		sockets:      desc("sockets", "Hosts' sockets, those in standby included."),
		held:         desc("polls_held", "Hosts' polls that are held."),
		due:          desc("poll_last_due_seconds", "Time until the last polling host is due: the true bound of how late a poll can be."),
		waiting:      desc("sessions_waiting", "Sessions in line for a turn."),
		parked:       desc("sessions_parked", "Sessions that wait for the store to come back."),
		credit:       desc("credit_free_bytes", "Credit for events that no session has."),
		watched:      desc("watched", "Jobs and executions that somebody waits for or follows, and topics of live views: what is read for them.", "what"),
		claims:       desc("claims_total", "Sessions begun."),
		delivered:    desc("delivered_total", "Messages with work that were handed to sessions.", "what"),
		events:       desc("events_total", "Events of executions that were stored."),
		hints:        desc("hints_total", "Hosts that the store's hints named."),
		storeErrors:  desc("store_errors_total", "Calls of the store that failed and were put off."),
		closed:       desc("closed_total", "Sockets closed by this side, by close code.", "code"),
		frames:       desc("frames_total", "Frames on hosts' sockets.", "direction"),
		beyond:       desc("polls_beyond", "1 if more hosts poll than the rate can serve within the longest interval."),
		polls:        desc("polls_total", "Polls answered, by how.", "answer"),
		pollProblems: desc("poll_problems_total", "Hosts' requests that were answered with a problem, by code.", "code"),
	}}
}

// Describe implements prometheus.Collector.
func (c *sessionCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.sockets, c.held, c.due, c.waiting, c.parked, c.credit, c.watched,
		c.claims, c.delivered, c.events, c.hints, c.storeErrors, c.closed, c.frames, c.beyond, c.polls, c.pollProblems} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *sessionCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st, polls := c.g.hub.Stats(), c.g.polls.Stats()
	gauge(c.sockets, float64(st.Sessions))
	gauge(c.held, float64(polls.Held))
	gauge(c.due, polls.LastDue.Seconds())
	gauge(c.waiting, float64(st.Waiting))
	gauge(c.parked, float64(st.Parked))
	gauge(c.credit, float64(st.CreditFree))
	gauge(c.watched, float64(c.g.jobs.Watching()), "jobs")
	gauge(c.watched, float64(c.g.runs.Watching()), "executions")
	for kind, n := range c.g.views.Reading() {
		gauge(c.watched, float64(n), "topic "+kind)
	}
	counter(c.claims, st.Claims)
	counter(c.delivered, st.Jobs, "jobs")
	counter(c.delivered, st.Cancels, "cancels")
	counter(c.events, st.Events)
	counter(c.hints, st.Hints)
	counter(c.storeErrors, st.StoreErrors)
	counter(c.frames, st.FramesIn, "in")
	counter(c.frames, st.FramesOut, "out")
	beyond := 0.0
	if polls.Beyond {
		beyond = 1
	}
	gauge(c.beyond, beyond)
	counter(c.polls, polls.WithMessages, "messages")
	counter(c.polls, polls.Empty, "empty")
	counter(c.polls, polls.Cut, "cut")
	for code, n := range polls.Problems {
		counter(c.pollProblems, n, code)
	}
	for code, n := range st.Closed {
		counter(c.closed, n, strconv.Itoa(int(code)))
	}
}
