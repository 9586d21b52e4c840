package live

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// Store is what views read.
type Store interface {
	ListJobs(ctx context.Context, after string, limit int) (jobs []queue.JobStatus, next string, err error)
	Job(ctx context.Context, id queue.JobID) (queue.JobStatus, error)
	States(ctx context.Context, job queue.JobID) ([]byte, error)
	Execution(ctx context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error)
	Output(ctx context.Context, q queue.OutputQuery) ([]queue.Chunk, error)
	Situations(ctx context.Context, job queue.JobID, hosts []queue.HostID) ([]queue.Situation, error)
	Now(ctx context.Context) (time.Time, error)
}

// Update is a step of a watch of a topic: from Prev to Seq, or, a snapshot, from nothing.
type Update struct {
	Snapshot  bool
	Prev, Seq int64

	Jobs    []queue.JobStatus // new or changed, newest first
	Removed []queue.JobID

	Job     *queue.JobStatus
	States  []byte // all; nil = Changes has those that changed
	Changes []Change

	Execution *queue.Execution // nil = as it was, and so is Why
	Why       *queue.Wait      // why it hasn't ended; nil = it has, or it isn't known
	Output    []queue.Chunk
}

// Change is a new state of the execution with an ordinal.
type Change struct {
	Ordinal int
	State   queue.State
}

// View is a watch of one topic. It is for one goroutine.
type View interface {
	// Next gives what is new, all together as far as it is reasonable; nil if
	// there is nothing. It may read the store, and waits for that, and nothing else. Errors: those that are Lasting
	// end the view; after others, Next may be called again later.
	Next(ctx context.Context) (*Update, error)
	// News is closed as soon as Next may give something more, if it gave nothing.
	News() <-chan struct{}
	// Position is where the view stands after the last update.
	Position() Position
	// Close ends it.
	Close()
}

// Views makes watches of topics. Make it with NewViews, end it with Close.
type Views struct {
	store Store
	jobs  *Feed[struct{}, *jobsValue]
	job   *Feed[queue.JobID, *jobValue]
	runs  *Feed[queue.ExecutionID, *runValue]

	reading chan struct{} // stored output, by those whom the tail doesn't reach
}

// maxReading bounds the views that read stored output at the same time. It is held
// for no longer than the store takes.
const maxReading = 64

// NewViews makes views of what is in a store.
func NewViews(store Store) *Views {
	v := &Views{store: store, reading: make(chan struct{}, maxReading)}
	v.jobs = New(Options[struct{}, *jobsValue]{
		Read: v.readJobs, Same: sameStep[*jobsValue], Size: (*jobsValue).size,
		Pace: func(*jobsValue) Pace { return listPace },
	})
	v.job = New(Options[queue.JobID, *jobValue]{
		Read: v.readJob, Same: sameStep[*jobValue], Size: (*jobValue).size, Pace: (*jobValue).pace,
	})
	v.runs = New(Options[queue.ExecutionID, *runValue]{
		Read: v.readRun, Same: func(a, b *runValue) bool { return a.news == b.news }, Pace: (*runValue).pace,
	})
	return v
}

// Open begins to watch a topic, from a position on if one is given. Close the view. Errors:
// Unavailable. A topic that doesn't exist is told by Next.
func (v *Views) Open(t Topic, from Position, resume bool) (View, error) {
	switch {
	case t.Job == "":
		return openSteps(v.jobs, struct{}{}, from)
	case t.Host == "":
		return openSteps(v.job, t.Job, from)
	}
	w, err := v.runs.Watch(queue.NewExecutionID(t.Job, t.Host))
	if err != nil {
		return nil, err
	}
	r := &runView{views: v, w: w, topic: t}
	if resume {
		r.at, r.resumed = from, true
	}
	return r, nil
}

// Recorded says that events of executions were stored through this gateway. It never
// blocks.
func (v *Views) Recorded(acks []queue.Ack) {
	var last queue.JobID
	for _, a := range acks {
		v.runs.Touch(a.Execution)
		if job, _, err := a.Execution.Split(); err == nil && job != last {
			v.job.Touch(job)
			last = job
		}
	}
	v.jobs.Touch(struct{}{})
}

// Changed says that a job was submitted, cancelled or the like through this gateway.
func (v *Views) Changed(job queue.JobID) {
	v.job.Touch(job)
	v.jobs.Touch(struct{}{})
}

// Reading is the number of topics that are read, by kind.
func (v *Views) Reading() map[string]int {
	return map[string]int{"jobs": v.jobs.Watching(), "job": v.job.Watching(), "execution": v.runs.Watching()}
}

// Close ends all readers. The views must have been closed.
func (v *Views) Close() {
	v.jobs.Close()
	v.job.Close()
	v.runs.Close()
}

// steps is a value that knows the steps that led to it.
type steps interface {
	at() Position
	whole() Update
	since(seq int64) (u Update, ok bool)
}

func sameStep[V steps](a, b V) bool { return a.at() == b.at() }

// stepsView is a watch of such values.
type stepsView[K comparable, V steps] struct {
	w  *Watcher[K, V]
	at Position
}

func openSteps[K comparable, V steps](f *Feed[K, V], key K, from Position) (View, error) {
	w, err := f.Watch(key)
	if err != nil {
		return nil, err
	}
	return &stepsView[K, V]{w: w, at: from}, nil
}

func (s *stepsView[K, V]) Next(context.Context) (*Update, error) {
	v, err, ok := s.w.Peek()
	if err != nil {
		return nil, lasting(err)
	}
	if !ok || v.at() == s.at {
		return nil, nil
	}
	from := s.at
	s.at = v.at()
	if from.Epoch == s.at.Epoch {
		if u, ok := v.since(from.Seq); ok {
			u.Prev, u.Seq = from.Seq, s.at.Seq
			return &u, nil
		}
	}
	u := v.whole()
	u.Snapshot, u.Seq = true, s.at.Seq
	return &u, nil
}

func (s *stepsView[K, V]) News() <-chan struct{} { return s.w.News() }

func (s *stepsView[K, V]) Position() Position { return s.at }

func (s *stepsView[K, V]) Close() { s.w.Close() }

// Lasting tells whether an error ends a view. Others pass.
func Lasting(err error) bool {
	c := queue.CodeOf(err)
	return c == queue.NotFound || c == queue.Invalid
}

// lasting leaves out a reader's errors that pass: it goes on, and there will be news.
func lasting(err error) error {
	if Lasting(err) {
		return err
	}
	return nil
}
