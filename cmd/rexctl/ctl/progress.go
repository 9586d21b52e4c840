package ctl

import (
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// rateWindow is how far back the rate of ended executions looks.
const rateWindow = 10 * time.Second

// meter makes progress lines of a job's snapshots.
type meter struct {
	began   time.Time
	samples []sample // oldest first, within rateWindow but for the first
}

type sample struct {
	at   time.Time
	done int
}

func (m *meter) note(j api.Job, now time.Time) {
	m.samples = append(m.samples, sample{now, j.Done})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
}

// rate is executions ended per second; 0 if not known.
func (m *meter) rate() float64 {
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	d := last.at.Sub(first.at).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(last.done-first.done) / d
}

// line is the progress in at most width columns (0 = any).
func (m *meter) line(j api.Job, now time.Time, width int) string {
	parts := []string{fmt.Sprintf("%d of %s done", j.Done, Plural(j.Targets, "host")), fmt.Sprintf("%d failed", j.Failed)}
	outstanding := fmt.Sprintf("%d outstanding", j.Outstanding)
	if states := outstandingStates(j.Counters); states != "" {
		outstanding += " (" + states + ")"
	}
	parts = append(parts, outstanding)
	if r := m.rate(); r > 0 && j.Targets > 1 {
		format := "%.0f/s"
		if r < 10 {
			format = "%.1f/s"
		}
		parts = append(parts, fmt.Sprintf(format, r))
	}
	parts = append(parts, Seconds(now.Sub(m.began)))
	s := strings.Join(parts, ", ")
	if width > 0 && len(s) > width {
		parts[2] = fmt.Sprintf("%d outstanding", j.Outstanding)
		s = strings.Join(parts, ", ")
	}
	if width > 0 && len(s) > width {
		s = s[:width]
	}
	return s
}

func outstandingStates(c api.Counters) string {
	var parts []string
	for _, s := range queue.States() {
		if n := c[s.String()]; n > 0 && !s.Terminal() {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}
