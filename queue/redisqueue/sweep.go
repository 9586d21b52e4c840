package redisqueue

import (
	"context"
	"sync"

	"github.com/rexgate/rexgate/queue"
)

// sweepStep is how many executions one script of a sweep sees to.
const sweepStep = 100

// Sweep ticks every partition's service clock, and applies what is due; it
// begins with another partition each time, so that a small budget reaches all.
func (s *Store) Sweep(ctx context.Context, budget int, r queue.Retention) (queue.Swept, error) {
	if err := s.enter(); err != nil {
		return queue.Swept{}, err
	}
	defer s.leave()
	w := sweep{s: s, left: budget}
	start := int(s.turn.Add(1) % Partitions)
	calls := make([]*call, Partitions)
	for i := range calls {
		calls[i] = w.tick((start + i) % Partitions)
	}
	// A partition that is out of reach doesn't keep the others waiting.
	err := s.runAll(ctx, calls)
	dueErr := each(Partitions, s.width, func(i int) error {
		if calls[i].err != nil {
			return nil
		}
		return w.partition(ctx, (start+i)%Partitions, calls[i].val)
	})
	if err == nil {
		err = dueErr
	}
	if err == nil {
		err = w.retain(ctx, r)
	}
	return w.done, err
}

// sweep is one Sweep under way.
type sweep struct {
	s *Store

	mu   sync.Mutex // guards left and done
	left int
	done queue.Swept
}

// take gives up to n of the budget; less means that the budget ended it.
func (w *sweep) take(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := max(0, min(n, w.left))
	w.left -= got
	if got < n {
		w.done.More = true
	}
	return got
}

func (w *sweep) tick(p int) *call {
	return &call{sc: w.s.sc.tick, keys: w.s.k.with(p, w.s.k.part(p, "drain")), args: w.s.args([]any{sweepStep})}
}

// dueItem is an entry of lease, expiry or delayed whose time has come.
type dueItem struct {
	kind string
	host queue.HostID
	job  queue.JobID
}

func (w *sweep) partition(ctx context.Context, p int, ticked any) error {
	for {
		r := row(ticked.([]any))
		var items []dueItem
		full := false
		for i, kind := range []string{"l", "e", "d"} {
			list := r.row(i + 1)
			full = full || len(list) == sweepStep
			for n := range list {
				if h, j, ok := splitField(list.str(n + 1)); ok {
					items = append(items, dueItem{kind, h, j})
				}
			}
		}
		for len(items) > 0 {
			want := min(len(items), sweepStep)
			n := w.take(want)
			if n == 0 {
				return nil
			}
			if err := w.due(ctx, p, items[:n]); err != nil {
				return err
			}
			items = items[n:]
		}
		if err := w.drain(ctx, p, r.row(4)); err != nil {
			return err
		}
		if !full {
			return nil
		}
		c := w.tick(p)
		v, err := w.s.run(ctx, c.sc, c.keys, c.args...)
		if err != nil {
			return err
		}
		ticked = v
	}
}

func (w *sweep) due(ctx context.Context, p int, items []dueItem) error {
	keys := append(make([]string, 0, len(items)+1), w.s.k.part(p, "gw"))
	args := make([]any, 0, 3*len(items))
	for _, it := range items {
		keys = append(keys, w.s.k.queue(p, it.host))
		args = append(args, it.kind, string(it.host), string(it.job))
	}
	v, err := w.s.runPart(ctx, w.s.sc.due, p, keys, args...)
	if err != nil {
		return err
	}
	r := row(v.([]any))
	w.s.hinter.send(r.row(7))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done.Lapsed += int(r.int(1))
	w.done.Ended += int(r.int(2))
	w.done.Lost += int(r.int(3))
	w.done.Expired += int(r.int(4))
	w.done.Due += int(r.int(5))
	w.done.Skipped += int(r.int(6))
	return nil
}

// drain goes on ending what hosts had before they were re-enrolled or barred.
func (w *sweep) drain(ctx context.Context, p int, hosts row) error {
	for i := range hosts {
		host := queue.HostID(hosts.str(i + 1))
		for {
			n := w.take(sweepStep)
			if n == 0 {
				return nil
			}
			v, err := w.s.runPart(ctx, w.s.sc.drain, p, []string{w.s.k.queue(p, host), w.s.k.part(p, "drain")}, string(host), n)
			if err != nil {
				return err
			}
			r := row(v.([]any))
			w.s.hinter.send(r.row(3))
			if r.int(2) == 0 {
				break
			}
		}
	}
	return nil
}
