package gateway

import "github.com/prometheus/client_golang/prometheus"

// watchMetrics are the figures of live views.
type watchMetrics struct {
	open     *prometheus.GaugeVec
	ended    *prometheus.CounterVec
	messages *prometheus.CounterVec
	bytes    prometheus.Counter
}

func newWatchMetrics() watchMetrics {
	return watchMetrics{
		open:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rexgate_watches", Help: "Live views that are open, by transport."}, []string{"transport"}),
		ended:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rexgate_watches_ended_total", Help: "Live views that have ended, by transport and reason."}, []string{"transport", "why"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rexgate_watch_messages_total", Help: "Messages of live views."}, []string{"kind"}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "rexgate_watch_bytes_total", Help: "Bytes of the messages of live views."}),
	}
}

func (m watchMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.open, m.ended, m.messages, m.bytes}
}

// watching counts a watch; the function it gives ends it.
func (m *metrics) watching(transport string) func(why string) {
	m.watches.open.WithLabelValues(transport).Inc()
	return func(why string) {
		m.watches.open.WithLabelValues(transport).Dec()
		m.watches.ended.WithLabelValues(transport, why).Inc()
	}
}

// watched counts a message.
func (m *metrics) watched(kind string, bytes int) {
	m.watches.messages.WithLabelValues(kind).Inc()
	m.watches.bytes.Add(float64(bytes))
}
