package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// processes writes what each role used, by phase.
func (p *page) processes(r *Result) {
	if len(r.Processes) == 0 {
		return
	}
	p.printf("%-20s %8s %8s %6s %9s  %9s %9s", "", "", "CPU", "cores", "CPU", "memory", "memory")
	p.printf("%-20s %8s %8s %6s %9s  %9s %9s", "role and phase", "took", "time", "busy", "per host", "at end", "per host")
	stolen := 0.0
	for _, proc := range r.Processes {
		role := proc.Role
		if proc.Count > 1 {
			role = fmt.Sprintf("%s x%d", proc.Role, proc.Count)
		}
		for i, u := range proc.Phases {
			cpu, bytes := proc.PerHost(i, r.Fleet.Hosts)
			each, memory, host := "", "", ""
			if r.Fleet.Hosts > 0 && proc.Role != RoleOthers {
				each = cpu.String()
			}
			if u.RSSBytes > 0 {
				memory = formatBytes(float64(u.RSSBytes))
				if i > 0 && r.Fleet.Hosts > 0 {
					host = formatBytes(float64(bytes))
				}
			}
			p.printf("  %-10s %-7s %8s %8s %6s %9s  %9s %9s", shorten(clean(role), 10), shorten(clean(u.Phase), 7), u.Took, u.CPU(), cores(u), each, memory, host)
			role = ""
			stolen += u.More[MoreStolen]
		}
		if peak, phase := proc.peak(); peak > 0 {
			p.printf("  %-10s %-7s %*s", "", "peak", 36+9, formatBytes(float64(peak))+" in "+shorten(clean(phase), 12))
		}
	}
	if stolen > 0 {
		p.printf("  other machines on the same hardware took %s of CPU from this one", formatDuration(time.Duration(stolen*float64(time.Second))))
	}
	p.printf("")
}

// cores says how many a role kept busy; in a moment, the kernel's hundredths of a second say nothing.
func cores(u Usage) string {
	if time.Duration(u.Took) < 100*time.Millisecond {
		return ""
	}
	return fmt.Sprintf("%.2f", u.CPU().Seconds()/u.Took.Seconds())
}

// peak gives the largest memory of a role, and when that was.
func (p Process) peak() (bytes int64, phase string) {
	for _, u := range p.Phases {
		if u.RSSPeak > bytes {
			bytes, phase = u.RSSPeak, u.Phase
		}
	}
	return bytes, phase
}

// more writes what processes say of themselves at the end of the last phase in which they were there.
func (p *page) more(processes []Process) {
	said := false
	for _, proc := range processes {
		if proc.Role == RoleOthers {
			continue
		}
		for _, u := range slices.Backward(proc.Phases) {
			if len(u.More) == 0 && u.Descriptors == 0 {
				continue
			}
			if !said {
				p.printf("at the end of the last phase")
				said = true
			}
			var words []string
			if u.Threads > 0 {
				words = append(words, fmt.Sprintf("threads %s", grouped(int64(u.Threads))))
			}
			if u.Descriptors > 0 {
				words = append(words, fmt.Sprintf("descriptors %s", grouped(int64(u.Descriptors))))
			}
			if u.PSSBytes > 0 {
				words = append(words, "PSS "+formatBytes(float64(u.PSSBytes)))
			}
			for _, name := range slices.Sorted(maps.Keys(u.More)) {
				words = append(words, moreText(name, u.More[name]))
			}
			p.fact("  "+clean(proc.Role), words...)
			break
		}
	}
	if said {
		p.printf("")
	}
}

// moreText writes a named value; the name's end is its unit.
func moreText(name string, v float64) string {
	if what, ok := strings.CutSuffix(name, "_bytes"); ok {
		return strings.ReplaceAll(what, "_", " ") + " " + formatBytes(v)
	}
	if what, ok := strings.CutSuffix(name, "_s"); ok {
		return strings.ReplaceAll(what, "_", " ") + " " + formatDuration(time.Duration(v*float64(time.Second)))
	}
	if v == float64(int64(v)) {
		return strings.ReplaceAll(name, "_", " ") + " " + grouped(int64(v))
	}
	return strings.ReplaceAll(name, "_", " ") + " " + digits(v)
}

func (p *page) kernel(kernel []Kernel) {
	if len(kernel) == 0 {
		return
	}
	p.printf("%-20s %12s %12s %12s %12s", "all of the kernel's", "TCP sockets", "in TIME_WAIT", "TCP buffers", "slab")
	for _, k := range kernel {
		p.printf("  %-18s %12s %12s %12s %12s", shorten(clean(k.Phase), 18), grouped(int64(k.Sockets)), grouped(int64(k.TimeWait)),
			formatBytes(float64(k.SocketBytes)), formatBytes(float64(k.SlabBytes)))
	}
	p.printf("")
}
