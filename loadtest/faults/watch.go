package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// watch reads the states of all jobs that aren't over, again and again, until ctx ends. It sees to it that only arrows of
// the state table are taken, and cancels what is to be cancelled.
func (l *load) watch(ctx context.Context) {
	defer l.wg.Wait()
	for round := 0; ctx.Err() == nil; round++ {
		l.mu.Lock()
		var open []*order
		for _, o := range l.orders {
			if !o.over && o.ID != "" {
				open = append(open, o)
			}
		}
		l.mu.Unlock()
		for i, o := range open {
			l.look(ctx, l.w.gateways[(round+i)%len(l.w.gateways)], o)
		}
		if pause(ctx, 30*time.Millisecond) != nil {
			return
		}
	}
}

// reachable is the state table's arrows, followed any number of times.
func reachable() map[[2]queue.State]bool {
	m := map[[2]queue.State]bool{}
	for _, a := range queue.States() {
		for _, b := range queue.States() {
			m[[2]queue.State{a, b}] = a == b || queue.CanMove(a, b)
		}
	}
	for range queue.States() {
		for k := range m {
			for _, via := range queue.States() {
				if m[[2]queue.State{k[0], via}] && m[[2]queue.State{via, k[1]}] {
					m[k] = true
				}
			}
		}
	}
	return m
}

// look reads the states of one job.
func (l *load) look(ctx context.Context, g *gate, o *order) {
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	states, err := g.op.States(ctx, o.ID)
	if operator.IsProblem(err, "not_found") {
		l.vanished(o, epoch)
		return
	}
	if err != nil {
		return // a fault; there is a next time
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return // read before a failover
	}
	if len(states) != len(o.Hosts) {
		l.note(violation{"states", o.ID, fmt.Sprintf("%d state bytes for %d targets", len(states), len(o.Hosts))})
		return
	}
	arrows := l.w.arrows
	for i, s := range states {
		if o.states != nil && !arrows[[2]queue.State{queue.State(o.states[i]), queue.State(s)}] {
			l.note(violation{"arrow", o.ID, fmt.Sprintf("target %d went from %v to %v", i, queue.State(o.states[i]), queue.State(s))})
		}
	}
	o.states = states
	l.changedLocked(o)
}

// changedLocked takes note of executions that ended, and cancels the job when it is due.
func (l *load) changedLocked(o *order) {
	done := o.done()
	ended := max(done-o.counted, 0) // after a failover some end a second time
	o.counted += ended
	if ended > 0 {
		l.ended += ended
		l.moved = time.Now()
	}
	if done == len(o.Hosts) {
		o.over = true
		l.under -= len(o.Hosts)
	}
	if o.over || ended > 0 {
		close(l.news)
		l.news = make(chan struct{})
	}
	if o.Cancel >= 0 && done >= o.Cancel && !o.cancelled && !o.over {
		o.cancelled = true
		l.wg.Go(func() { l.cancel(o) })
	}
}

// cancel asks for a job's end till it is answered.
func (l *load) cancel(o *order) {
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	var s api.Selection
	if o.Partial {
		s.Hosts = o.Hosts[:1]
	}
	for try := 0; ctx.Err() == nil; try++ {
		g := l.w.gateways[(o.Serial+try)%len(l.w.gateways)]
		if _, err := g.op.Cancel(ctx, o.ID, s); err == nil {
			l.mu.Lock()
			o.Cancelled = time.Now()
			l.mu.Unlock()
			return
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

// cancelOne cancels one execution, for a fault. If that isn't answered soon, it may have been cancelled or not.
func (l *load) cancelOne(ctx context.Context, f fault, job, host string) {
	l.mu.Lock()
	l.single[job+"."+host] = true
	for _, o := range l.orders {
		if o.ID == job && o.Cancel < 0 { // it may be cancelled from now on, and isn't once more
			o.Cancel, o.cancelled = 0, true
		}
	}
	l.mu.Unlock()
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	g := l.w.gateways[f.How%uint64(len(l.w.gateways))]
	g.op.Cancel(ctx, job, api.Selection{Hosts: []string{host}}) //nolint:errcheck // another fault may be in the way
}

// vanished judges a job that the store doesn't have.
func (l *load) vanished(o *order, epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return
	}
	if !l.excusedLocked(span{o.Sent, o.At}) {
		l.note(violation{"vanished", o.ID, fmt.Sprintf("%s was accepted at %s, and the store doesn't have it at %s", o.name(), o.At.Format(time.StampMicro), time.Now().Format(time.StampMicro))})
	}
	o.over, o.ID = true, ""
	l.under -= len(o.Hosts)
	close(l.news)
	l.news = make(chan struct{})
}

// excusedLocked tells whether what was asked for and acknowledged then may have been lost in a failover. Replication is asynchronous: what is on its
// way to the replica when that is held up is lost too. The old master may have stored it long before the answer came: on a busy machine
// that comes when the replica is the master already.
func (l *load) excusedLocked(s span) bool {
	const lag = time.Second
	for _, w := range l.windows {
		if !s.Answered.Before(w.From.Add(-lag)) && !s.Asked.After(w.To) {
			return true
		}
	}
	return false
}

// finish waits until all jobs are over. What isn't, after so long that nothing has moved, is a violation.
func (l *load) finish(ctx context.Context, tell func(string)) {
	told := time.Now()
	for {
		l.mu.Lock()
		var open []*order
		for _, o := range l.orders {
			if !o.over {
				open = append(open, o)
			}
		}
		moved, news := l.moved, l.news
		l.mu.Unlock()
		if len(open) == 0 {
			return
		}
		left := l.w.cfg.Patience - time.Since(moved)
		if left <= 0 {
			for _, o := range open {
				l.note(violation{"unfinished", o.ID, fmt.Sprintf("%s: %d targets, states %q", o.name(), len(o.Hosts), o.states)})
			}
			return
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			l.mu.Lock()
			text := waiting(open)
			l.mu.Unlock()
			tell(text)
		}
		t := time.NewTimer(min(left, time.Second))
		select {
		case <-news:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// waiting sums up what orders wait for, by host.
func waiting(open []*order) string {
	hosts := map[string]string{}
	for _, o := range open {
		for i, s := range o.states {
			if !queue.State(s).Terminal() {
				hosts[o.Hosts[i]] += string(s)
			}
		}
	}
	var b strings.Builder
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		if fmt.Fprintf(&b, " %s %.20s", h, hosts[h]); b.Len() > 1000 {
			b.WriteString(" ...")
			break
		}
	}
	return b.String()
}
