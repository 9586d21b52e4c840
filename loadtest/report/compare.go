package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Compare writes two runs side by side: first what differs in how they were made, since
// figures of different things compare badly, then what was measured in both, with the change from a to b. Nothing is said
// of what is better: one run each tells little of differences of a few percent.
func Compare(w io.Writer, a, b *Result) error {
	p := &page{w: bufio.NewWriter(w)}
	p.printf("%-39s %13s %13s %12s", "", "before", "after", "change")
	p.printf("%s", strings.Repeat("=", width))
	p.differences(a, b)
	for _, section := range []func(*Result) []measure{stepMeasures, pollMeasures, usageMeasures, figureMeasures, countMeasures} {
		p.changes(section(a), section(b))
	}
	return p.w.Flush()
}

// trait is something that a run was made with.
type trait struct{ name, value string }

// traits are what tells runs apart, but for what was measured.
func traits(r *Result) []trait {
	var transports []string
	for _, t := range byCount(r.Fleet.Transports) {
		transports = append(transports, fmt.Sprintf("%s=%d", t, r.Fleet.Transports[t]))
	}
	script := ""
	if r.Job != nil {
		script = r.Job.Script
	}
	return []trait{
		{"scenario", r.Scenario}, {"script", script}, {"command", commandLine(r.Command)},
		{"cpu", r.Machine.CPU}, {"cores", grouped(int64(r.Machine.Cores))}, {"memory", formatBytes(float64(r.Machine.MemoryBytes))},
		{"system", r.Machine.System}, {"kernel", r.Machine.Kernel}, {"virtualisation", r.Machine.Virtualisation}, {"go", r.Machine.Go},
		{"rexgate", r.Stand.Rexgate}, {"gateways", grouped(int64(r.Stand.Gateways))}, {"gateway args", commandLine(r.Stand.GatewayArgs)}, {"TLS", fmt.Sprint(r.Stand.TLS)},
		{"store", strings.TrimSpace(r.Stand.Store + " " + r.Stand.StoreVersion)}, {"store settings", strings.Join(r.Stand.StoreSettings, " ")}, {"store disk", r.Stand.StoreDisk},
		{"hosts", grouped(int64(r.Fleet.Hosts))}, {"transports", strings.Join(transports, " ")}, {"fleet processes", grouped(int64(r.Fleet.Processes))},
		{"addresses", grouped(int64(r.Fleet.Addresses))}, {"runner", r.Fleet.Runner}, {"journal", r.Fleet.Journal}, {"rexload", r.Fleet.Version},
	}
}

// differences writes the traits that differ, and how busy the machines were.
func (p *page) differences(a, b *Result) {
	with := traits(b)
	p.printf("  %-37s %13s %13s", "started", a.Started.UTC().Format("2 Jan 15:04"), b.Started.UTC().Format("2 Jan 15:04"))
	p.printf("  %-37s %13.2f %13.2f", "load of the machine before", a.Machine.Load[0], b.Machine.Load[0])
	for i, t := range traits(a) {
		if t.value == with[i].value {
			continue
		}
		x, y := clean(t.value), clean(with[i].value)
		if len([]rune(x)) <= 13 && len([]rune(y)) <= 13 {
			p.printf("  %-37s %13s %13s", t.name, x, y)
			continue
		}
		for k, value := range []string{x, y} {
			for n, line := range wrap(orNothing(value), width-30) {
				label := ""
				if n == 0 {
					label = t.name + [...]string{" before", " after"}[k]
				}
				p.printf("  %-26s  %s", label, line)
			}
		}
	}
	p.printf("")
}

func orNothing(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// measure is a figure with a name that is unique in its section.
type measure struct {
	name  string
	value float64
	unit  string
}

func stepMeasures(r *Result) []measure {
	var all []measure
	for _, s := range r.Steps {
		for _, clock := range []struct {
			by string
			d  *Distribution
		}{{"store", s.ByStore}, {"fleet", s.ByFleet}} {
			if clock.d == nil {
				continue
			}
			for _, v := range []struct {
				what string
				d    Duration
			}{{"p50", clock.d.P50}, {"p99", clock.d.P99}, {"max", clock.d.Max}} {
				all = append(all, measure{fmt.Sprintf("%s, by %s, %s", s.Name, clock.by, v.what), v.d.Seconds(), "s"})
			}
		}
	}
	return all
}

func pollMeasures(r *Result) []measure {
	if r.Polls == nil {
		return nil
	}
	all := []measure{{"polls", r.Polls.PerSecond, "/s"}}
	if d := r.Polls.Empty; d != nil {
		all = append(all, measure{"empty poll, p50", d.P50.Seconds(), "s"}, measure{"empty poll, p99", d.P99.Seconds(), "s"}, measure{"empty poll, max", d.Max.Seconds(), "s"})
	}
	if d := r.Polls.Interval; d != nil {
		all = append(all, measure{"interval of a host, p50", d.P50.Seconds(), "s"}, measure{"interval of a host, max", d.Max.Seconds(), "s"})
	}
	return all
}

func usageMeasures(r *Result) []measure {
	var all []measure
	for _, proc := range r.Processes {
		for i, u := range proc.Phases {
			name := proc.Role + ", " + u.Phase
			cpu, bytes := proc.PerHost(i, r.Fleet.Hosts)
			if proc.Role == RoleOthers || r.Fleet.Hosts <= 0 {
				all = append(all, measure{"CPU of " + name, u.CPU().Seconds(), "s"})
				continue
			}
			all = append(all, measure{"CPU per host of " + name, cpu.Seconds(), "s"})
			if i > 0 {
				all = append(all, measure{"bytes per host of " + name, float64(bytes), "bytes"})
			}
		}
		if peak, _ := proc.peak(); peak > 0 {
			all = append(all, measure{"peak of " + proc.Role, float64(peak), "bytes"})
		}
	}
	return all
}

func figureMeasures(r *Result) []measure {
	var all []measure
	for _, f := range r.Figures {
		all = append(all, measure{f.Name, f.Measured, f.Unit})
	}
	return all
}

func countMeasures(r *Result) []measure {
	all := []measure{{"the whole run", r.Took.Seconds(), "s"}}
	for _, state := range byCount(r.Executions) {
		all = append(all, measure{"executions " + state, float64(r.Executions[state]), "n"})
	}
	for _, e := range r.Errors {
		all = append(all, measure{"errors: " + e.Reason, float64(e.Count), "n"})
	}
	return all
}

// changes writes measures by name; what only one run has is written, too.
func (p *page) changes(before, after []measure) {
	if len(before)+len(after) == 0 {
		return
	}
	find := func(in []measure, name string) *measure {
		if i := slices.IndexFunc(in, func(m measure) bool { return m.name == name }); i >= 0 {
			return &in[i]
		}
		return nil
	}
	for _, m := range before {
		p.change(m.name, &m, find(after, m.name))
	}
	for _, m := range after {
		if find(before, m.name) == nil {
			p.change(m.name, nil, &m)
		}
	}
	p.printf("")
}

func (p *page) change(name string, a, b *measure) {
	write := func(m *measure) string {
		switch {
		case m == nil:
			return "-"
		case m.unit == "n":
			return grouped(int64(m.value))
		}
		return formatUnit(m.value, m.unit)
	}
	change := ""
	if a != nil && b != nil && a.unit == b.unit {
		change = ratio(a.value, b.value)
	}
	p.printf("  %-37s %13s %13s %12s", shorten(clean(name), 37), write(a), write(b), change)
}

// ratio says how b compares with a: in percent, or as a multiple where that says more.
func ratio(a, b float64) string {
	switch {
	case a == b:
		return "same"
	case a <= 0 || b < 0:
		return ""
	case b == 0:
		return "gone"
	case b >= 2*a:
		return "x " + digits(b/a)
	case b <= a/2:
		return "1/" + digits(a/b)
	}
	return fmt.Sprintf("%+.1f %%", (b/a-1)*100)
}
