package live

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Bounds of what is kept of the newest output of an execution that is watched.
const (
	tailBytes  = 256 << 10
	tailChunks = 512
	outputPage = 256 << 10 // bytes of output read at once
)

// runValue is an execution with the newest of its output. It is immutable.
type runValue struct {
	x       queue.Execution
	why     reason
	rewound int   // how often the store went back behind what it had said
	news    int64 // how often there was something to tell

	// The tail has all chunks with after < Seq <= through; end is the offset behind them.
	after, through int64
	end            int64
	tail           []queue.Chunk
	bytes          int
}

func (v *Views) readRun(ctx context.Context, id queue.ExecutionID, last *runValue) (*runValue, error) {
	job, host, err := id.Split()
	if err != nil {
		return nil, err
	}
	x, err := v.store.Execution(ctx, job, host)
	if err != nil {
		return nil, err
	}
	r, err := v.readTail(ctx, last, x)
	if err != nil {
		return nil, err
	}
	e := v.explain(ctx, last, r)
	if last != nil && (r != last || !sameReason(e.why, last.why)) {
		told := *e
		told.news = last.news + 1
		return &told, nil
	}
	return e, nil
}

// readTail reads the output that came since the last value, which it gives if there is nothing to tell.
func (v *Views) readTail(ctx context.Context, last *runValue, x queue.Execution) (*runValue, error) {
	r := &runValue{x: x, after: x.Stored, through: x.Stored, end: stored(x)}
	if last == nil {
		return r, nil
	}
	r.why, r.rewound = last.why, last.rewound
	switch {
	case x.Stored <= last.through && sameRun(last.x, x):
		return last, nil
	case x.Output.Deleted:
		return r, nil
	case x.Stored < last.x.Stored || r.end < stored(last.x):
		r.rewound++
		return r, nil
	case r.end-last.end > outputPage:
		return r, nil // so much at once is paged through by each watcher itself
	}
	return v.extend(ctx, last, x)
}

// extend gives the value with an execution's later record and the output that came with it.
func (v *Views) extend(ctx context.Context, last *runValue, x queue.Execution) (*runValue, error) {
	r := *last
	r.x = x
	if x.Stored <= r.through || stored(x) == last.end && x.Output.Gap == last.x.Output.Gap {
		r.through = max(r.through, x.Stored)
		return &r, nil
	}
	chunks, err := v.store.Output(ctx, queue.OutputQuery{Job: x.Job, Host: x.Host, Offset: last.end, Limit: outputPage})
	if err != nil {
		return nil, err
	}
	read := 0
	r.tail = slices.Clip(r.tail) // others hold it, too
	for _, c := range chunks {
		read += len(c.Data)
		if c.Seq > last.through {
			c.Data = bytes.Clone(c.Data) // which may be a small part of what was read
			r.tail = append(r.tail, c)
			r.bytes += len(c.Data)
			r.through, r.end = c.Seq, c.Offset+int64(len(c.Data))
		}
	}
	if read+queue.MaxChunk <= outputPage {
		r.through = max(r.through, x.Stored) // the page had room for more, and there was none
	}
	for r.bytes > tailBytes || len(r.tail) > tailChunks {
		r.after = r.tail[0].Seq
		r.bytes -= len(r.tail[0].Data)
		r.tail = r.tail[1:]
	}
	return &r, nil
}

func stored(x queue.Execution) int64 { return x.Output.Stdout + x.Output.Stderr }

// sameRun tells that nothing of an execution that is worth telling has changed.
func sameRun(a, b queue.Execution) bool {
	return a.State == b.State && a.Output == b.Output && a.Stored == b.Stored && a.Deliveries == b.Deliveries &&
		a.CancelledAt.Equal(b.CancelledAt) && (a.Late == nil) == (b.Late == nil)
}

// pace is the quicker the more there is to see: the host may hang on another gateway,
// from where nobody touches.
func (r *runValue) pace() Pace {
	p := Pace{Soonest: 50 * time.Millisecond, Shortest: 100 * time.Millisecond, Longest: time.Second, Rest: 20}
	switch {
	case r.x.State.Terminal():
		p.Shortest, p.Longest = time.Second, 5*time.Second
	case r.x.State == queue.Running || r.x.State == queue.Accepted:
		p.Longest = p.Shortest
	}
	return p
}
