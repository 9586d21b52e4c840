package live

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/queue"
)

// A reason changes without its execution: the host comes, what is ahead ends. So it is read again, beside the execution.
const (
	reasonEvery = time.Second     // of one that waits
	quietEvery  = 5 * time.Second // of one that the host has accepted, since it was last heard of
)

// reason is why an execution hasn't ended. The zero value is none: it has, or the store doesn't tell.
type reason struct {
	wait   *queue.Wait
	online bool             // the host
	job    *queue.JobStatus // as it was read last; nil = not yet
	at     time.Time        // when it was true
	stored int64            // of the execution's events, at that time
}

// explain gives the value with why its execution hasn't ended. A store that doesn't tell why costs the reason,
// nothing else.
func (v *Views) explain(ctx context.Context, last, r *runValue) *runValue {
	x, why := &r.x, &r.why
	inHand := x.State == queue.Accepted || x.State == queue.Running
	every := reasonEvery
	if inHand {
		every = quietEvery
	}
	moved := last == nil || last.x.State != x.State || !last.x.CancelledAt.Equal(x.CancelledAt)
	var next reason
	switch {
	case x.State.Terminal():
		if *why == next {
			return r
		}
	case inHand && why.job != nil && x.Stored > why.stored:
		// The host has just reported: it is there, and nothing needs to be read.
		s := queue.Situation{Execution: *x, Host: queue.Host{ID: x.Host, Presence: queue.Presence{Online: true}}}
		next = reasonOf(&s, why.job, time.Now())
	case moved || time.Since(why.at) >= every:
		next = v.readReason(ctx, x, why.job)
	default:
		return r
	}
	e := *r
	e.why = next
	return &e
}

// readReason reads an execution's situation. The job is read with it only where its counters matter.
func (v *Views) readReason(ctx context.Context, x *queue.Execution, job *queue.JobStatus) reason {
	none := reason{job: job, at: time.Now(), stored: x.Stored}
	if job == nil || x.State == queue.Planned {
		j, err := v.store.Job(ctx, x.Job)
		if err != nil {
			return none
		}
		job, none.job = &j, &j
	}
	now, err := v.store.Now(ctx)
	if err != nil {
		return none
	}
	s, err := v.store.Situations(ctx, x.Job, []queue.HostID{x.Host})
	if err != nil || len(s) != 1 {
		return none
	}
	if s[0].Execution.State != x.State {
		none.at = time.Time{} // it has gone on meanwhile: the next reading tells both
		return none
	}
	r := reasonOf(&s[0], job, now)
	r.stored = x.Stored // the situation may have more, of which the host is heard again
	return r
}

func reasonOf(s *queue.Situation, job *queue.JobStatus, now time.Time) reason {
	r := reason{job: job, at: time.Now(), stored: s.Execution.Stored, online: s.Host.Presence.Online}
	if w, ok := s.Why(job, now); ok {
		r.wait = &w
	}
	return r
}

// sameReason tells that a reader needs no other sentence: its text has ages in it, which the reader counts.
func sameReason(a, b reason) bool {
	if a.wait == nil || b.wait == nil {
		return a.wait == b.wait
	}
	p, q := a.wait, b.wait
	switch p.Code {
	case queue.WaitRollout, queue.WaitPaused: // these have numbers instead
		if p.Text != q.Text {
			return false
		}
	}
	return p.Code == q.Code && p.Since.Equal(q.Since) && p.Until.Equal(q.Until) && p.Behind == q.Behind && p.Ahead == q.Ahead &&
		a.online == b.online
}
