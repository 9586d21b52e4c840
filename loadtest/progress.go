package loadtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
)

// progress tells people how far a run is, a line now and then. All writes are its own goroutine's, but for those
// of say, which wait for it.
type progress struct {
	r      *run
	began  time.Time
	ended  chan struct{} // closed to end it
	ending sync.Once
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the following, and the writer
	current string     // phase
	status  api.Job    // as last seen; no id = no job yet
}

func startProgress(r *run) *progress {
	p := &progress{r: r, began: time.Now(), ended: make(chan struct{}), current: report.PhaseStart}
	p.wg.Go(func() {
		tick := time.NewTicker(r.cfg.ProgressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.mu.Lock()
				p.lineLocked()
				p.mu.Unlock()
			case <-p.ended:
				return
			}
		}
	})
	return p
}

// stop ends it; stopping again does nothing.
func (p *progress) stop() {
	p.ending.Do(func() { close(p.ended) })
	p.wg.Wait()
}

// phase begins another part, and tells how far it is.
func (p *progress) phase(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != report.PhaseStart {
		p.lineLocked()
	}
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

// say writes a line at once.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.r.cfg.Progress, "%7.1fs  %s\n", time.Since(p.began).Seconds(), text)
}

func (p *progress) lineLocked() {
	c := p.r.crew.counts()
	hosts := int64(p.r.cfg.Hosts)
	text := p.current + ": "
	switch p.current {
	case report.PhaseStart:
		return
	case report.PhaseEnroll:
		text += fmt.Sprintf("%d of %d enrolled", c.Enrolled+int64(min(p.r.identity.Enrolled, p.r.cfg.Hosts)), hosts)
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
	fmt.Fprintf(p.r.cfg.Progress, "%7.1fs  %s\n", time.Since(p.began).Seconds(), text)
}
