package loadtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
)

// sampleEvery is how often the fleet's counts are taken for the series.
const sampleEvery = 250 * time.Millisecond

// maxLines is how many lines may wait to be written; more are dropped.
const maxLines = 100

// progress tells people how far a run is, a line now and then, and keeps the fleet's counts over time. One goroutine
// writes all lines.
type progress struct {
	r      *run
	began  time.Time
	lines  chan string
	ended  chan struct{} // closed to end it
	ending sync.Once
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the following
	current string     // phase
	status  api.Job    // as last seen; no id = no job yet
	samples []countsAt
}

// countsAt is what the fleet was at a moment.
type countsAt struct {
	at     time.Time
	counts Counts
}

func startProgress(r *run) *progress {
	p := &progress{r: r, began: time.Now(), lines: make(chan string, maxLines), ended: make(chan struct{}), current: report.PhaseStart}
	p.wg.Go(p.run)
	return p
}

func (p *progress) run() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	line := time.NewTicker(p.r.cfg.ProgressEvery)
	defer line.Stop()
	for {
		select {
		case now := <-tick.C:
			p.mu.Lock()
			p.samples = append(p.samples, countsAt{now, p.r.crew.counts()})
			p.mu.Unlock()
		case <-line.C:
			p.line()
		case text := <-p.lines:
			fmt.Fprint(p.r.cfg.Progress, text)
		case <-p.ended:
			for {
				select {
				case text := <-p.lines:
					fmt.Fprint(p.r.cfg.Progress, text)
				default:
					return
				}
			}
		}
	}
}

// series gives the hosts attached by each transport, and the rate of polls, since an origin.
func (p *progress) series(origin time.Time) []report.Series {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []report.Series
	for _, tr := range []client.Transport{client.Socket, client.Poll} {
		s := report.Series{Metric: report.MetricHosts, Of: string(tr)}
		some := false
		for _, c := range p.samples {
			s.Add(c.at.Sub(origin), float64(c.counts.Up[tr]))
			some = some || c.counts.Up[tr] > 0
		}
		if some {
			out = append(out, s)
		}
	}
	polls := report.Series{Metric: report.MetricPolls, Of: string(client.Poll)}
	const second = int(time.Second / sampleEvery)
	for i := second; i < len(p.samples); i += second {
		a, b := p.samples[i-second], p.samples[i]
		polls.Add(b.at.Sub(origin), float64(b.counts.Polls-a.counts.Polls)/b.at.Sub(a.at).Seconds())
	}
	if n := len(p.samples); n > 0 && p.samples[n-1].counts.Polls > 0 && len(polls.Times) > 0 {
		out = append(out, polls)
	}
	return out
}

// stop ends it when all lines are written; stopping again does nothing.
func (p *progress) stop() {
	p.ending.Do(func() { close(p.ended) })
	p.wg.Wait()
}

// phase begins another part, and tells how far it is.
func (p *progress) phase(name string) {
	p.line()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = name
}

func (p *progress) job(j api.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = j
}

func (p *progress) trouble(err error) {
	if err != nil {
		p.say(fmt.Sprintf("the API: %v", err))
	}
}

// say has a line written.
func (p *progress) say(text string) {
	select {
	case p.lines <- fmt.Sprintf("%7.1fs  %s\n", time.Since(p.began).Seconds(), text):
	default: // whoever reads them doesn't
	}
}

// line says how far the run is.
func (p *progress) line() {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.r.crew.counts()
	hosts := int64(p.r.cfg.Hosts)
	text := p.current + ": "
	switch p.current {
	case report.PhaseStart:
		return
	case report.PhaseEnroll:
		text += fmt.Sprintf("%d of %d enrolled", c.Enrolled, hosts)
	case report.PhaseConnect:
		text += fmt.Sprintf("%d of %d connected (%d by socket, %d by poll)", c.online(), hosts, c.Up[client.Socket], c.Up[client.Poll])
	case report.PhaseRun:
		text += fmt.Sprintf("hosts: %d leased, %d accepted, %d finished, %d stored", c.Leased, c.Accepted, c.Finished, c.Stored)
		if p.status.ID != "" {
			text += fmt.Sprintf("; store: %d of %d done", p.status.Done, p.status.Targets)
		}
	default:
		text += fmt.Sprintf("%d of %d connected, %d polls", c.online(), hosts, c.Polls)
	}
	if c.Errors > 0 {
		text += fmt.Sprintf(", %d errors", c.Errors)
	}
	p.say(text)
}
