package loadtest

import (
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/loadtest/report"
)

// maxReasons bounds the reasons that are told apart.
const maxReasons = 100

// errorCounts counts errors by reason. The zero value is ready.
type errorCounts struct {
	total atomic.Int64

	mu     sync.Mutex // guards the following
	counts map[string]*report.Error
}

// varying is what differs between errors of one reason: addresses, times and numbers of hosts.
var varying = regexp.MustCompile(`\[?[0-9a-f:.]+\]?:\d+|\d+(\.\d+)?(ms|us|s|m|h)\b|load-[a-z0-9]+-\d+`)

// add counts an error. what is of a bounded set.
func (c *errorCounts) add(what string, err error) {
	c.total.Add(1)
	reason, example := what, ""
	if err != nil {
		example = err.Error()
		reason += ": " + varying.ReplaceAllString(example, "...")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]*report.Error{}
	}
	if c.counts[reason] == nil && len(c.counts) >= maxReasons {
		reason = "others"
	}
	e := c.counts[reason]
	if e == nil {
		e = &report.Error{Reason: reason, Example: example}
		c.counts[reason] = e
	}
	e.Count++
}

func (c *errorCounts) list() []report.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]report.Error, 0, len(c.counts))
	for _, e := range c.counts {
		out = append(out, *e)
	}
	return out
}

// pollCounts is what hosts see of their polls. The zero value is ready.
type pollCounts struct {
	count, waits, waited  atomic.Int64
	empty, held, interval atomic.Pointer[report.Recorder]

	mu      sync.Mutex // guards the following
	answers map[int]int
}

// recorder gives the one that p holds, and makes it if need be.
func recorder(p *atomic.Pointer[report.Recorder]) *report.Recorder {
	if r := p.Load(); r != nil {
		return r
	}
	p.CompareAndSwap(nil, new(report.Recorder))
	return p.Load()
}

// add takes an answer to a poll. One that brought nothing was held if it took longer than half of what
// it asked for.
func (c *pollCounts) add(p client.Polled) {
	c.count.Add(1)
	c.mu.Lock()
	if c.answers == nil {
		c.answers = map[int]int{}
	}
	c.answers[p.Status]++
	c.mu.Unlock()
	if p.Status != 204 {
		return
	}
	if p.Hold > 0 && p.Took > p.Hold/2 {
		recorder(&c.held).Add(p.Took)
	} else {
		recorder(&c.empty).Add(p.Took)
	}
	if p.Retry >= 0 {
		recorder(&c.interval).Add(p.Retry)
		c.waits.Add(p.Retry.Milliseconds())
		c.waited.Add(1)
	}
}

// reset forgets all but the counters that only rise.
func (c *pollCounts) reset() {
	c.empty.Store(nil)
	c.held.Store(nil)
	c.interval.Store(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = nil
}

func (c *pollCounts) collect(into *collected) error {
	var err error
	for p, to := range map[*atomic.Pointer[report.Recorder]]*[]byte{&c.empty: &into.Empty, &c.held: &into.Held, &c.interval: &into.Interval} {
		if *to, err = recorder(p).MarshalBinary(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	into.Answers = make(map[string]int, len(c.answers))
	for status, n := range c.answers {
		into.Answers[strconv.Itoa(status)] = n
	}
	return nil
}
