package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// manage is the hosts' service manager: an agent that has ended by itself is started again. That one ends is a violation, unless it
// found the lock still held: a process that an agent has just forked holds it for a moment beyond the agent's death.
func (r *run) manage(ctx context.Context) {
	for n := 0; pause(ctx, 100*time.Millisecond) == nil; n++ {
		if n%5 == 0 {
			r.resolveDoubles(ctx, r.w.gateways[n/5%len(r.w.gateways)])
		}
		for _, g := range r.w.gateways {
			r.revive(&g.busy, g.process, func() error { return r.w.up(ctx, g) })
		}
		for _, v := range r.w.reals {
			r.revive(&v.busy, v.process, v.start)
		}
		for _, c := range r.w.crews {
			r.revive(&c.busy, c.process, func() error { return c.begin(ctx) })
		}
	}
}

func (r *run) revive(busy *sync.Mutex, p *process, start func() error) {
	if !busy.TryLock() { // a fault is at it
		return
	}
	defer busy.Unlock()
	if p.running() {
		return
	}
	switch last := lastLine(p.log); {
	case strings.Contains(last, "another agent runs on the state directory"):
		r.remark("%s found its lock held, and was started again", p.name)
	case strings.Contains(last, "no space left on device"): // it came back while a fault had filled its disk
		r.remark("%s couldn't open its journal on a full disk, and was started again", p.name)
	default:
		r.note(violation{"stays up", p.name, fmt.Sprintf("it ended by itself (%v): %s", errOr(p.ended()), last)})
	}
	if err := start(); err != nil {
		r.note(violation{"stays up", p.name, err.Error()})
	}
}

func lastLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
