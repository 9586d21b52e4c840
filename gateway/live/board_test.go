package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// board is a store of what a test writes on it.
type board struct {
	mu     sync.Mutex // guards what follows
	list   []queue.JobStatus
	states map[queue.JobID][]byte
	runs   map[queue.ExecutionID]*written
	err    error // what everything gives
	pages  int   // outputs that were read
	reads  int   // executions that were read

	situated  int   // situations that were read
	placeless error // what situations give
}

// written is an execution, its output, and its situation but for the execution.
type written struct {
	x         queue.Execution
	chunks    []queue.Chunk
	situation queue.Situation
}

func newBoard() *board {
	return &board{states: map[queue.JobID][]byte{}, runs: map[queue.ExecutionID]*written{}}
}

func (b *board) do(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// counts tells how many executions and pages of output were read.
func (b *board) counts() (reads, pages int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads, b.pages
}

func missing(what any) error { return queue.Errorf(queue.NotFound, "no %v", what) }

func (b *board) ListJobs(_ context.Context, _ string, limit int) ([]queue.JobStatus, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list[:min(limit, len(b.list))]), "", b.err
}

func (b *board) Job(_ context.Context, id queue.JobID) (queue.JobStatus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.list {
		if j.ID == id {
			return j, b.err
		}
	}
	return queue.JobStatus{}, missing(id)
}

func (b *board) States(_ context.Context, id queue.JobID) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.states[id]; ok {
		return slices.Clone(s), b.err
	}
	return nil, missing(id)
}

func (b *board) Execution(_ context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if r, ok := b.runs[queue.NewExecutionID(job, host)]; ok {
		return r.x, b.err
	}
	return queue.Execution{}, missing(host)
}

func (b *board) Situations(_ context.Context, job queue.JobID, hosts []queue.HostID) ([]queue.Situation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.situated++
	if err := cmp.Or(b.err, b.placeless); err != nil {
		return nil, err
	}
	var all []queue.Situation
	for _, h := range hosts {
		r, ok := b.runs[queue.NewExecutionID(job, h)]
		if !ok {
			return nil, missing(h)
		}
		s := r.situation
		s.Execution = r.x
		all = append(all, s)
	}
	return all, nil
}

func (b *board) Now(context.Context) (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now(), b.err
}

// Output gives what the contract of the store says: gaps from the offset on, and data from within a
// chunk on.
func (b *board) Output(_ context.Context, q queue.OutputQuery) (out []queue.Chunk, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pages++
	r, ok := b.runs[queue.NewExecutionID(q.Job, q.Host)]
	if !ok {
		return nil, missing(q.Host)
	}
	if r.x.Output.Deleted || b.err != nil {
		return nil, b.err
	}
	size := 0
	for _, c := range r.chunks {
		switch {
		case c.Gap > 0 && c.Offset >= q.Offset:
			out = append(out, c)
			continue
		case c.Gap > 0 || c.Offset+int64(len(c.Data)) <= q.Offset:
			continue
		}
		if skip := q.Offset - c.Offset; skip > 0 {
			c.Data, c.Offset = c.Data[skip:], q.Offset
		}
		if size += len(c.Data); size > q.Limit {
			return out, nil
		}
		out = append(out, c)
	}
	return out, nil
}

// job puts a job of so many hosts on the board, all queued, as the newest.
func (b *board) job(id queue.JobID, hosts int) {
	b.do(func() {
		s := queue.JobStatus{Job: queue.Job{ID: id, Targets: hosts, Control: queue.Active}, Counters: queue.Counters{queue.Queued: hosts}}
		b.list = append([]queue.JobStatus{s}, b.list...)
		b.states[id] = slices.Repeat([]byte{byte(queue.Queued)}, hosts)
	})
}

// move changes the state of an execution.
func (b *board) move(id queue.JobID, ordinal int, to queue.State) {
	b.do(func() {
		s := slices.Clone(b.states[id])
		for i, j := range b.list {
			if j.ID != id {
				continue
			}
			c := queue.Counters{}
			for k, v := range j.Counters {
				c[k] = v
			}
			c[queue.State(s[ordinal])]--
			c[to]++
			b.list[i].Counters = c
			if c.Done() == j.Targets {
				b.list[i].FinishedAt = time.Now()
			}
		}
		s[ordinal] = byte(to)
		b.states[id] = s
	})
}

// run puts an execution on the board, which runs.
func (b *board) run(job queue.JobID, host queue.HostID) *written {
	r := &written{x: queue.Execution{Job: job, Host: host, State: queue.Running, Stored: 2}}
	b.do(func() { b.runs[queue.NewExecutionID(job, host)] = r })
	return r
}

// says stores output of an execution; the caller is in do.
func (r *written) says(stream queue.Stream, data string) {
	r.x.Stored++
	r.chunks = append(r.chunks, queue.Chunk{Seq: r.x.Stored, Stream: stream, Offset: stored(r.x), Data: []byte(data)})
	if stream == queue.Stdout {
		r.x.Output.Stdout += int64(len(data))
	} else {
		r.x.Output.Stderr += int64(len(data))
	}
}

// loses stores a gap.
func (r *written) loses(n int64) {
	r.x.Stored++
	r.chunks = append(r.chunks, queue.Chunk{Seq: r.x.Stored, Offset: stored(r.x), Gap: n})
	r.x.Output.Gap += n
}

// all is the output that was written, with its gaps.
func (r *written) all() string { return text(r.chunks) }

func text(chunks []queue.Chunk) string {
	var s []byte
	for _, c := range chunks {
		if c.Gap > 0 {
			s = fmt.Appendf(s, "<%d>", c.Gap)
		}
		s = append(s, c.Data...)
	}
	return string(s)
}
