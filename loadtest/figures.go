package loadtest

import (
	"fmt"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
)

// figures sets what was measured of a job beside what the design reaches for.
func (r *run) figures(job api.Job) {
	if job.FinishedAt == nil {
		return
	}
	took := job.FinishedAt.Sub(job.CreatedAt).Seconds()
	f := report.Figure{Name: "submit to last result stored", Unit: "s", Measured: took}
	design, hosts := 0.0, 0
	switch {
	case r.cfg.Scenario.Name == "echo-sleep" && r.cfg.Real:
		design, hosts = 25, 2000
	case r.cfg.Scenario.Name == "echo-sleep":
		design, hosts = 11, 5000
	case r.cfg.Scenario.Name == "fan-out" && !r.cfg.Real:
		design, hosts = 12, 100_000
	}
	if design > 0 {
		f.Design = design
		if hosts != r.cfg.Hosts {
			f.Note = fmt.Sprintf("the design's is for %d hosts, this is %d", hosts, r.cfg.Hosts)
		}
	}
	r.result.Figures = append(r.result.Figures, f)
}

// fill puts into the result what the run is made of and what was sampled.
func (r *run) fill(dir string) {
	modes := map[string]int{}
	for _, m := range r.cfg.Mix.Assign(r.cfg.Hosts) {
		modes[string(m)]++
	}
	addresses := 1
	if net, err := newNetwork(r.gateways(), "", r.cfg.Mix.connections()); err == nil && net.loopback {
		addresses = net.address(r.cfg.Hosts-1) + 1
	}
	r.result.Fleet = report.Fleet{
		Hosts: r.cfg.Hosts, Transports: modes, Processes: len(r.crew.workers), Addresses: addresses,
		Runner: "simulated", Journal: r.journal(dir), Version: r.cfg.Version,
	}
	if r.cfg.Real {
		r.result.Fleet.Runner = "real"
	}
	r.result.Series = append(r.result.Series, r.progress.series(r.result.Origin)...)
	r.sampler.Fill(r.result)
	for _, p := range r.result.Processes {
		for i := range p.Phases {
			if p.Role == report.RoleFleet && i < len(r.memory) {
				p.Phases[i].More = r.memory[i]
			}
		}
	}
	r.perHost()
	if p := r.result.Polls; p != nil && p.Empty != nil {
		r.result.Figures = append(r.result.Figures, report.Figure{
			Name: "empty poll, p99", Unit: "s", Measured: p.Empty.P99.Seconds(), Design: 0.010,
			Note: fmt.Sprintf("the design's is at 3000/s, this is at %.0f/s", p.PerSecond),
		})
	}
	r.result.Took = report.Duration(time.Since(r.result.Started))
}

// perHost gives what a host that is connected takes in memory.
func (r *run) perHost() {
	for _, p := range r.result.Processes {
		if p.Role == report.RoleOthers {
			continue
		}
		for i, u := range p.Phases {
			if u.Phase != report.PhaseIdle && u.Phase != report.PhaseConnect {
				continue
			}
			cpu, bytes := p.PerHost(i, r.cfg.Hosts)
			f := report.Figure{Name: fmt.Sprintf("memory of the %s, %s, per host", p.Role, u.Phase), Unit: "bytes", Measured: float64(bytes)}
			if p.Role == report.RoleGateway && u.Phase == report.PhaseIdle && r.only(client.ModeSocket) {
				f.Design = 9 << 10
				if r.result.Stand.TLS {
					f.Design = 15 << 10
				}
			}
			r.result.Figures = append(r.result.Figures, f)
			if u.Phase == report.PhaseIdle && u.Took > 0 {
				r.result.Figures = append(r.result.Figures, report.Figure{
					Name: fmt.Sprintf("CPU of the %s, idle, per host and minute", p.Role), Unit: "s", Measured: cpu.Seconds() / u.Took.Seconds() * 60,
				})
			}
		}
	}
}

// only tells whether all hosts use one mode.
func (r *run) only(mode client.Mode) bool {
	for _, s := range r.cfg.Mix {
		if s.Mode != mode && s.Weight > 0 {
			return false
		}
	}
	return true
}
