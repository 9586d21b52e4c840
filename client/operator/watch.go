package operator

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// WatchOptions tunes Watch.
type WatchOptions struct {
	// Every is the time between two snapshots; 0 = 1 s. The last one comes at once
	// when the job is done.
	Every time.Duration
	// Trouble, if set, is called with each error that Watch endures, and with nil
	// when the server answers again.
	Trouble func(error)
}

// Watch gives snapshots of a job, the first at once, the last when it is done. It
// endures a server that is away, for up to Options.Patience; any other error it
// yields, and ends. A consumer that is slow gets fewer snapshots.
func (c *Client) Watch(ctx context.Context, id string, o WatchOptions) iter.Seq2[api.Job, error] {
	setDefault(&o.Every, time.Second)
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
	return func(yield func(api.Job, error) bool) {
		// The wait is the pace: the server answers when the job is done or it is over.
		wait := time.Duration(0)
		p := patience{limit: c.opt.Patience}
		for {
			began := time.Now()
			var job api.Job
			f := c.try(ctx, jobRequest(id, JobOptions{Wait: wait}), &job)
			pause := time.Duration(0)
			if f == nil {
				if p.troubled() {
					o.Trouble(nil)
				}
				p = patience{limit: c.opt.Patience}
				if !yield(job, nil) || job.FinishedAt != nil {
					return
				}
				// A server that answers early isn't hurried.
				pause = max(0, wait-time.Since(began))
				wait = o.Every
			} else {
				if ctx.Err() != nil {
					yield(api.Job{}, &canceled{cause: context.Cause(ctx), err: f.err})
					return
				}
				var over bool
				if pause, over = p.next(f); over {
					yield(api.Job{}, f.err)
					return
				}
				o.Trouble(f.err)
			}
			if err := sleep(ctx, pause); err != nil {
				yield(api.Job{}, &canceled{cause: err, err: errors.New("the watch was ended")})
				return
			}
		}
	}
}

// patience bounds how long failures in a row are endured.
type patience struct {
	limit time.Duration
	since time.Time // of the first failure in this row
	pace  backoff
}

func (p *patience) troubled() bool { return !p.since.IsZero() }

// next takes note of a failure, and tells how long to pause, or that it is over.
func (p *patience) next(f *failure) (pause time.Duration, over bool) {
	if p.since.IsZero() {
		p.since = time.Now()
	}
	pause = p.pace.next(f.retryAfter)
	return pause, f.final || time.Since(p.since)+pause > p.limit
}
