package live

import (
	"context"

	"github.com/rexgate/rexgate/queue"
)

// Bounds of the output in one update.
const (
	updateBytes  = 64 << 10
	updateChunks = 1024
)

// runView is a watch of an execution. What it has delivered is in its position: all chunks with a number up to Last.
// While that is behind the tail of the value, it pages through the store, and keeps nothing of what it
// read: a reader that is slow holds up nobody else.
type runView struct {
	views *Views
	w     *Watcher[queue.ExecutionID, *runValue]
	topic Topic

	at      Position
	resumed bool      // the position is from a cursor, and nothing was sent since
	asked   bool      // for a fresh reading
	now     *runValue // the newest
	sent    *told     // last
	rewound int       // as of now, when it was sent
}

// told is what a reader knows of an execution, but for its output.
type told struct {
	x   queue.Execution
	why reason
}

// knows tells that the newest value has nothing else to say.
func (r *runView) knows() bool {
	return r.sent != nil && sameRun(r.sent.x, r.now.x) && sameReason(r.sent.why, r.now.why)
}

// Next implements View.
func (r *runView) Next(ctx context.Context) (*Update, error) {
	if err := r.look(); err != nil || r.now == nil {
		return nil, lasting(err)
	}
	if r.resumed && r.ahead() {
		// Another gateway may have told more than this one has read. If it is so still after
		// a reading that began since, the store has less than it had.
		if !r.asked {
			r.w.Refresh()
			r.asked = true
		}
		if !r.w.Fresh() {
			return nil, nil
		}
		if err := r.look(); err != nil { // that reading's value, or a later one
			return nil, lasting(err)
		}
		r.resumed = !r.ahead()
	}
	if r.sent == nil && !r.resumed || r.sent != nil && r.rewound != r.now.rewound {
		return r.begin(), nil
	}
	return r.delta(ctx)
}

// look takes the newest value.
func (r *runView) look() error {
	v, err, ok := r.w.Peek()
	if ok && err == nil {
		r.now = v
	}
	return err
}

// ahead tells that the position is beyond what is stored.
func (r *runView) ahead() bool {
	return r.at.Last > r.now.x.Stored || r.at.Offset > stored(r.now.x)
}

// begin gives a snapshot; the output follows.
func (r *runView) begin() *Update {
	r.at = Position{Seq: r.at.Seq + 1}
	return r.tell(&Update{Snapshot: true, Seq: r.at.Seq})
}

// delta gives what is new since the position.
func (r *runView) delta(ctx context.Context) (*Update, error) {
	chunks, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	if len(chunks) == 0 && r.knows() {
		return nil, nil
	}
	u := &Update{Prev: r.at.Seq, Seq: r.at.Seq + 1, Output: chunks}
	r.at.Seq++
	return r.tell(u), nil
}

// tell puts the execution into an update if it isn't known as it is.
func (r *runView) tell(u *Update) *Update {
	if !r.knows() {
		u.Execution, u.Why = &r.now.x, r.now.why.wait
	}
	r.sent, r.rewound, r.resumed = &told{r.now.x, r.now.why}, r.now.rewound, false
	return u
}

// take gives the next output, from the store or from the tail, and moves the position
// behind it.
func (r *runView) take(ctx context.Context) ([]queue.Chunk, error) {
	if r.now.x.Output.Deleted {
		r.at.Last = max(r.at.Last, r.now.x.Stored)
		return nil, nil
	}
	for r.at.Last < r.now.after {
		chunks, err := r.read(ctx)
		if err != nil || len(chunks) > 0 {
			return chunks, err
		}
	}
	return r.takeTail(), nil
}

// takeTail gives what the tail has behind the position.
func (r *runView) takeTail() []queue.Chunk {
	chunks := after(r.now.tail, r.at.Last)
	n := fitting(chunks)
	r.passed(chunks[:n])
	if n == len(chunks) {
		r.at.Last = max(r.at.Last, r.now.through)
	}
	return chunks[:n:n]
}

// read reads an update's worth behind the position. If there is none, the position moves up to what was stored
// when the newest value was read, since what was stored until then has been delivered.
func (r *runView) read(ctx context.Context) ([]queue.Chunk, error) {
	select {
	case r.views.reading <- struct{}{}:
		defer func() { <-r.views.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	chunks, err := r.views.store.Output(ctx, queue.OutputQuery{Job: r.topic.Job, Host: r.topic.Host, Offset: r.at.Offset, Limit: updateBytes})
	if err != nil {
		return nil, err
	}
	chunks = after(chunks, r.at.Last) // a gap at the offset comes again
	if len(chunks) == 0 {
		r.at.Last = max(r.at.Last, r.now.x.Stored)
		return nil, nil
	}
	n := fitting(chunks) // a host may have sent single bytes
	r.passed(chunks[:n])
	return chunks[:n:n], nil
}

// after leaves out the chunks with a number up to last. The numbers rise.
func after(chunks []queue.Chunk, last int64) []queue.Chunk {
	for len(chunks) > 0 && chunks[0].Seq <= last {
		chunks = chunks[1:]
	}
	return chunks
}

// fitting is how many of the chunks go into one update: at least one.
func fitting(chunks []queue.Chunk) int {
	bytes := 0
	for i, c := range chunks {
		bytes += len(c.Data)
		if i > 0 && bytes > updateBytes || i == updateChunks {
			return i
		}
	}
	return len(chunks)
}

func (r *runView) passed(chunks []queue.Chunk) {
	if len(chunks) > 0 {
		c := chunks[len(chunks)-1]
		r.at.Offset, r.at.Last = c.Offset+int64(len(c.Data)), c.Seq
	}
}

// News implements View. While Next gives something it isn't asked.
func (r *runView) News() <-chan struct{} { return r.w.News() }

// Position implements View.
func (r *runView) Position() Position { return r.at }

// Close implements View.
func (r *runView) Close() { r.w.Close() }
