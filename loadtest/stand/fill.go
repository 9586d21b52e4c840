package stand

import (
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// reported are the roles in the order in which they are reported.
var reported = []string{report.RoleGateway, report.RoleStore, report.RoleFleet}

// Fill puts what was sampled into a result: Processes, Kernel, Series counted from the
// result's Origin, and what couldn't be sampled into Errors. It is called after Stop. If all targets are
// processes of this machine, what else ran on it is the role "others".
func (s *Sampler) Fill(r *report.Result) {
	local := !slices.ContainsFunc(s.targets, func(t *target) bool { return t.PID <= 0 })
	for _, role := range s.roles() {
		p := report.Process{Role: role}
		for _, ph := range s.phases {
			p.Count = max(p.Count, ph.end.roles[role].count, ph.begin.roles[role].count)
			p.Phases = append(p.Phases, ph.usage(role, r.Origin))
		}
		r.Processes = append(r.Processes, p)
		r.Series = append(r.Series, s.series(role, r.Origin)...)
	}
	if local {
		p := report.Process{Role: report.RoleOthers}
		for _, ph := range s.phases {
			p.Phases = append(p.Phases, ph.others(r.Origin))
		}
		r.Processes = append(r.Processes, p)
		r.Series = append(r.Series, s.cpu(report.RoleOthers, r.Origin, sample.others))
	}
	for _, ph := range s.phases {
		r.Kernel = append(r.Kernel, report.Kernel{Phase: ph.name, Sockets: ph.sockets.inUse, TimeWait: ph.sockets.timeWait,
			SocketBytes: ph.sockets.bytes, SlabBytes: ph.sockets.slab})
	}
	for _, e := range s.faults {
		r.Errors = append(r.Errors, e)
	}
	slices.SortFunc(r.Errors, func(a, b report.Error) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(a.Reason, b.Reason)
	})
}

// roles gives the roles that there are, the known ones first.
func (s *Sampler) roles() []string {
	var all []string
	for _, t := range s.targets {
		if !slices.Contains(all, t.Role) {
			all = append(all, t.Role)
		}
	}
	place := func(role string) int {
		if i := slices.Index(reported, role); i >= 0 {
			return i
		}
		return len(reported)
	}
	slices.SortStableFunc(all, func(a, b string) int { return place(a) - place(b) })
	return all
}

func (p phase) usage(role string, origin time.Time) report.Usage {
	a, b := p.begin.roles[role], p.end.roles[role]
	return report.Usage{
		Phase: p.name, Begin: report.Duration(p.begin.at.Sub(origin)), Took: report.Duration(p.end.at.Sub(p.begin.at)),
		User: report.Duration(b.user - a.user), System: report.Duration(b.system - a.system),
		RSSBytes: b.rss, RSSPeak: p.peak[role], PSSBytes: b.pss, Threads: b.threads, Descriptors: b.descriptors, More: b.more,
	}
}

// others is what the machine did besides in a phase.
func (p phase) others(origin time.Time) report.Usage {
	u := report.Usage{
		Phase: p.name, Begin: report.Duration(p.begin.at.Sub(origin)), Took: report.Duration(p.end.at.Sub(p.begin.at)),
		User: report.Duration(p.end.machine.user - p.begin.machine.user), System: report.Duration(p.end.machine.system - p.begin.machine.system),
	}
	for role, b := range p.end.roles {
		a := p.begin.roles[role]
		u.User -= report.Duration(b.user - a.user)
		u.System -= report.Duration(b.system - a.system)
	}
	// The kernel counts the whole and its parts by different means.
	u.User, u.System = max(u.User, 0), max(u.System, 0)
	if stolen := p.end.machine.stolen - p.begin.machine.stolen; stolen > 0 {
		u.More = map[string]float64{report.MoreStolen: stolen.Seconds()}
	}
	return u
}

// others is the CPU time of the machine that isn't a target's.
func (s sample) others() time.Duration {
	d := s.machine.user + s.machine.system
	for _, u := range s.roles {
		d -= u.user + u.system
	}
	return d
}

// series are a role's values over time.
func (s *Sampler) series(role string, origin time.Time) []report.Series {
	rss := report.Series{Metric: report.MetricRSS, Of: role}
	threads := report.Series{Metric: report.MetricThreads, Of: role}
	descriptors := report.Series{Metric: report.MetricDescriptors, Of: role}
	for _, t := range s.ticks {
		u, at := t.roles[role], t.at.Sub(origin)
		rss.Add(at, float64(u.rss))
		threads.Add(at, float64(u.threads))
		descriptors.Add(at, float64(u.descriptors))
	}
	cpu := s.cpu(role, origin, func(t sample) time.Duration { return t.roles[role].user + t.roles[role].system })
	return []report.Series{cpu, rss, threads, descriptors}
}

// cpu gives how many cores were busy, from CPU time so far.
func (s *Sampler) cpu(role string, origin time.Time, total func(sample) time.Duration) report.Series {
	series := report.Series{Metric: report.MetricCPU, Of: role}
	if len(s.phases) == 0 {
		return series
	}
	last := s.phases[0].begin
	for _, t := range s.ticks {
		took := t.at.Sub(last.at)
		if took < s.interval/2 {
			continue // of two ticks so close, the kernel's hundredths of a second make nonsense
		}
		series.Add(t.at.Sub(origin), max(0, (total(t)-total(last)).Seconds()/took.Seconds()))
		last = t
	}
	return series
}
