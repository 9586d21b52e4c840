package report

import (
	"slices"
	"strings"
	"time"
)

// Plot is a picture of series over time.
type Plot struct {
	Name string // without an extension: "completion"
	SVG  []byte
}

// Plots draws what there are series of, each metric one picture: completion, rate, hosts, polls, cpu, memory.
// They stand alone: no scripts, fonts or links; light or dark as the reader prefers.
func Plots(r *Result) []Plot {
	since := "since the submit"
	if r.Job == nil {
		since = "since measuring began"
	}
	var plots []Plot
	for _, k := range []struct {
		metric, name, title, unit string
		phases                    bool
	}{
		{MetricDone, "completion", "Executions that have reached each step", "executions", false},
		{MetricRate, "rate", "Executions a second, by step", "executions a second", false},
		{MetricHosts, "hosts", "Hosts attached", "hosts", true},
		{MetricPolls, "polls", "Polls a second", "polls a second", true},
		{MetricCPU, "cpu", "CPU, by role, on top of each other", "cores busy", true},
		{MetricRSS, "memory", "Memory, by role", "resident", true},
	} {
		c := chart{name: k.name, title: k.title, subtitle: subtitle(r), unit: k.unit, since: since, bytes: k.metric == MetricRSS}
		for _, s := range r.Series {
			if s.Metric == k.metric && len(s.Times) > 1 {
				c.lines = append(c.lines, line{of: s.Of, colour: colourOf(k.metric, s.Of), series: s})
			}
		}
		if len(c.lines) == 0 {
			continue
		}
		if k.phases {
			c.marks = phaseMarks(r.Processes)
		}
		switch k.metric {
		case MetricCPU:
			c.stacked = sameTimes(c.lines)
			c.limit, c.limitName = float64(r.Machine.Cores), "all of the machine: "+plural(r.Machine.Cores, "core")
		case MetricDone:
			stay(c.lines)
		case MetricRate:
			fall(c.lines)
		}
		giveColours(c.lines)
		plots = append(plots, Plot{Name: k.name, SVG: c.svg()})
	}
	return plots
}

// sameTimes tells whether all lines have their points at the same moments.
func sameTimes(lines []line) bool {
	return !slices.ContainsFunc(lines, func(l line) bool { return !slices.Equal(l.series.Times, lines[0].series.Times) })
}

// stay draws lines on to the end of the longest: what has been reached stays so.
func stay(lines []line) {
	var end Duration
	for _, l := range lines {
		end = max(end, l.series.Times[len(l.series.Times)-1])
	}
	for i, l := range lines {
		last := len(l.series.Times) - 1
		// The result's own points are not touched.
		lines[i].series.Times = append(slices.Clip(l.series.Times), end)
		lines[i].series.Values = append(slices.Clip(l.series.Values), l.series.Values[last])
	}
}

// fall draws lines from zero and back to it: before the first slice of time and after the last there was nothing.
func fall(lines []line) {
	for i, l := range lines {
		s := l.series
		last := len(s.Times) - 1
		width := s.Times[last] - s.Times[last-1]
		lines[i].series.Times = slices.Concat([]Duration{s.Times[0] - width/2}, s.Times, []Duration{s.Times[last] + width/2})
		lines[i].series.Values = slices.Concat([]float64{0}, s.Values, []float64{0})
	}
}

// subtitle says what was run on what, in a line.
func subtitle(r *Result) string {
	words := []string{r.Scenario + ", " + plural(r.Fleet.Hosts, "host")}
	if r.Stand.Gateways > 0 {
		words = append(words, plural(r.Stand.Gateways, "gateway"))
	}
	if r.Stand.Store != "" {
		words = append(words, r.Stand.Store)
	}
	if r.Stand.TLS {
		words = append(words, "TLS")
	}
	if r.Machine.Cores > 0 {
		words = append(words, plural(r.Machine.Cores, "core"))
	}
	return strings.Join(words, " · ")
}

// Steps, transports and roles have the same colour in all plots; -1 = it gets one of the rest.
func colourOf(metric, of string) int {
	var known []string
	switch metric {
	case MetricDone, MetricRate:
		known = []string{StepLeased, StepAccepted, StepStarted, StepFinished, StepStored}
	case MetricHosts, MetricPolls:
		known = []string{"socket", "poll"}
	case MetricCPU, MetricRSS:
		known = []string{RoleGateway, RoleStore, RoleFleet, RoleOthers}
		if of == RoleOthers {
			return grey
		}
	}
	return slices.Index(known, of)
}

// giveColours gives lines without a colour those that are left.
func giveColours(lines []line) {
	next := 0
	for i := range lines {
		for lines[i].colour < 0 {
			if !slices.ContainsFunc(lines, func(l line) bool { return l.colour == next }) {
				lines[i].colour = next
			}
			next = (next + 1) % len(palette)
		}
	}
}

// mark is a moment on the axis of time, with what begins there.
type mark struct {
	at, until time.Duration
	name      string
}

// phaseMarks gives the phases of the run.
func phaseMarks(processes []Process) []mark {
	var marks []mark
	if len(processes) == 0 {
		return nil
	}
	for _, u := range processes[0].Phases {
		marks = append(marks, mark{time.Duration(u.Begin), time.Duration(u.Begin + u.Took), u.Phase})
	}
	return marks
}
