package redisqueue

import (
	"context"

	"github.com/rexgate/rexgate/queue"
)

// packPolicy adds to the fixed part of a job what lua/policy.lua reads, if the job has a policy.
func packPolicy(f *packer, j queue.Job, recheck queue.Selector) {
	skip, scope := j.Spec.Offline == queue.OfflineSkip, j.SupersedeScope()
	if !skip && scope == "" && recheck.Empty() {
		return
	}
	if skip {
		f.int(1)
	} else {
		f.int(0)
	}
	f.str(scope)
	if recheck.Empty() {
		return
	}
	requirements := recheck.Requirements()
	f.array(len(requirements))
	for _, r := range requirements {
		want := int64(1)
		if r.Not {
			want = 0
		}
		f.array(3).str(r.Key).int(want).array(len(r.Values))
		for _, v := range r.Values {
			f.str(v)
		}
	}
}

// Purge cancels what waits in a host's queue, in order of delivery, so that what is leased meanwhile has been cancelled mostly.
func (s *Store) Purge(ctx context.Context, host queue.HostID, running bool, by string) (sum queue.Cancellation, err error) {
	if err := s.enter(); err != nil {
		return sum, err
	}
	defer s.leave()
	p, too := partition(host), "0"
	if running {
		too = "1"
	}
	why := cutReason(queue.WhyCancelled(by))
	for from := ""; ; {
		v, err := s.runPart(ctx, s.sc.purge, p, []string{s.k.queue(p, host)}, string(host), too, why, from, expandStep)
		if err != nil {
			return sum, about("host "+string(host), err)
		}
		r := row(v.([]any))
		s.hinter.send(r.row(4))
		sum.Cancelled += int(r.int(1))
		sum.Asked += int(r.int(2))
		if from = r.str(3); from == "" {
			return sum, nil
		}
	}
}
