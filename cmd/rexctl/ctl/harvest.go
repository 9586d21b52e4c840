package ctl

import (
	"context"
	"errors"
	"sync"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

const (
	harvesters = 16        // hosts whose output is read at once
	maxBlock   = 256 << 10 // bytes of a host's output that are held back while another's is printed
	pageSize   = 1000
)

// harvest prints each host's output in one piece once the host has ended. It reads the
// job's state bytes to know which have.
type harvest struct {
	*show
	ctx     context.Context
	cancel  context.CancelCauseFunc
	wake    chan struct{} // capacity 1: the job has moved
	last    chan struct{} // closed: no update follows
	work    chan finished
	turn    chan struct{} // capacity 1: who holds it prints
	all     sync.WaitGroup
	moved   int // Done of the last update that woke; of the caller of update
	printed []bool
	hosts   []string
}

// finished is a host that has ended; x is set if it was read already.
type finished struct {
	host string
	x    *api.Execution
}

func (s *show) startHarvest(parent context.Context) *harvest {
	ctx, cancel := context.WithCancelCause(parent)
	h := &harvest{show: s, ctx: ctx, cancel: cancel, moved: -1, printed: make([]bool, s.job.Targets),
		wake: make(chan struct{}, 1), last: make(chan struct{}), work: make(chan finished), turn: make(chan struct{}, 1)}
	h.all.Go(func() {
		defer close(h.work)
		if err := h.scan(); err != nil {
			cancel(err)
		}
	})
	for range harvesters {
		h.all.Go(func() {
			for f := range h.work {
				if err := h.print(f); err != nil {
					h.outputFailed(ctx, f.host, err)
				}
			}
		})
	}
	return h
}

func (h *harvest) update(j api.Job) {
	if j.Done == h.moved {
		return
	}
	h.moved = j.Done
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// wait prints what has ended until now, and no more.
func (h *harvest) wait() error {
	close(h.last)
	h.all.Wait()
	err := context.Cause(h.ctx)
	h.cancel(nil)
	return err
}

// scan finds the hosts that have ended, again and again, until it has done so after the last update.
func (h *harvest) scan() error {
	for t, err := range h.Client.Targets(h.ctx, h.job.ID) {
		if err != nil {
			return err
		}
		h.hosts = append(h.hosts, t)
	}
	for over := false; !over; {
		select {
		case <-h.wake:
		case <-h.last:
			over = true
		case <-h.ctx.Done():
			return context.Cause(h.ctx)
		}
		if err := h.pass(); err != nil && (over || h.ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

// wanted tells whether a host in this state is to be printed.
func (h *harvest) wanted(s queue.State) bool {
	if h.Output == OutputFailed && h.Format != JSONL {
		return s.Failure()
	}
	return s.Terminal()
}

// pass hands on what has ended since the last pass: one by one, or by reading the list where
// that takes fewer requests.
func (h *harvest) pass() error {
	states, err := h.Client.States(h.ctx, h.job.ID)
	if err != nil {
		return err
	}
	var ended []int
	names := map[string]bool{}
	for i, b := range states {
		if s := queue.State(b); i < len(h.printed) && i < len(h.hosts) && !h.printed[i] && h.wanted(s) {
			ended = append(ended, i)
			names[s.String()] = true
		}
	}
	if len(ended) <= 1+len(h.hosts)/pageSize {
		for _, i := range ended {
			if err := h.hand(i, finished{host: h.hosts[i]}); err != nil {
				return err
			}
		}
		return nil
	}
	q := operator.ExecutionQuery{Job: h.job.ID, Limit: pageSize}
	for n := range names {
		q.States = append(q.States, n)
	}
	for x, err := range h.Client.Executions(h.ctx, q) {
		if err != nil {
			return err
		}
		if x.Ordinal < len(h.printed) && !h.printed[x.Ordinal] {
			if err := h.hand(x.Ordinal, finished{host: x.Host, x: &x}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *harvest) hand(ordinal int, f finished) error {
	select {
	case h.work <- f:
		h.printed[ordinal] = true
		return nil
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	}
}

// print prints a host's output and how it ended, in one piece.
func (h *harvest) print(f finished) error {
	if f.x == nil {
		x, err := h.Client.Execution(h.ctx, h.job.ID, f.host)
		if err != nil {
			return err
		}
		f.x = &x
	}
	b := &block{to: h.p, take: func() bool {
		select {
		case h.turn <- struct{}{}:
			return true
		case <-h.ctx.Done():
			return false
		}
	}, release: func() { <-h.turn }}
	defer b.close()
	var err error
	if h.Output == OutputAll || h.Output == OutputFailed && failed(f.x.State) {
		err = h.copyStored(h.ctx, b, *f.x, prefix(f.host, 0), h.job.Targets > 1)
	}
	h.ended(b, *f.x)
	return err
}

// copyStored prints what is stored of an execution's output, stdout first.
func (v *View) copyStored(ctx context.Context, to sink, x api.Execution, prefix string, several bool) error {
	var errs []error
	for _, s := range []struct {
		stream string
		size   int64
	}{{operator.Stdout, x.Output.Stdout}, {operator.Stderr, x.Output.Stderr}} {
		if s.size == 0 || x.Output.Deleted {
			continue
		}
		w := v.newHostWriter(to, x.Host, s.stream, prefix, several)
		_, err := v.Client.CopyOutput(ctx, w, operator.OutputRequest{Job: x.Job, Host: x.Host, Stream: s.stream})
		w.flush()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// block keeps one host's pieces together: it holds them back up to maxBlock, then
// waits for its turn and hands on.
type block struct {
	to      sink
	take    func() bool // waits for the turn; false = it won't come
	release func()
	held    []piece
	size    int
	taken   bool
	dropped bool
}

func (b *block) send(p piece) {
	if b.dropped {
		return
	}
	if b.taken {
		b.to.send(p)
		return
	}
	b.held = append(b.held, p)
	if b.size += len(p.data); b.size > maxBlock {
		b.begin()
	}
}

func (b *block) begin() {
	if b.taken || b.dropped {
		return
	}
	if !b.take() {
		b.dropped, b.held = true, nil
		return
	}
	b.taken = true
	for _, p := range b.held {
		b.to.send(p)
	}
	b.held = nil
}

// close hands on what is held, and ends the turn.
func (b *block) close() {
	b.begin()
	if b.taken {
		b.release()
	}
}
