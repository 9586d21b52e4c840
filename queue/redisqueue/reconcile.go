package redisqueue

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// auditCursor is where the next Reconcile goes on.
type auditCursor struct {
	mu sync.Mutex // guards at
	at string     // member of time; "" = from the newest
}

// Reconcile holds what is derived against the records, job by job, newest first,
// and goes on where the call before stopped. Orders of a job are checked
// together with its state, in one script per 100 hosts.
func (s *Store) Reconcile(ctx context.Context, budget int) (repairs []string, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.audit.mu.Lock()
	at := s.audit.at
	s.audit.mu.Unlock()
	top := "+"
	if at != "" {
		top = "(" + at
	}
	members, err := s.rdb.ZRevRangeByLex(ctx, s.k.jobs("time"), &redis.ZRangeBy{Max: top, Min: "-", Count: int64(max(budget, 1))}).Result()
	if err != nil {
		return nil, failed("reconcile", err)
	}
	at = ""
	if len(members) == budget {
		at = members[len(members)-1]
	}
	for _, m := range members {
		lines, err := s.verifyJob(ctx, queue.JobID(m[16:]))
		repairs = append(repairs, lines...)
		if err != nil {
			return repairs, err
		}
	}
	s.audit.mu.Lock()
	s.audit.at = at
	s.audit.mu.Unlock()
	return repairs, nil
}

func (s *Store) verifyJob(ctx context.Context, id queue.JobID) (repairs []string, err error) {
	info, err := s.known(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		return nil, nil // it went meanwhile
	}
	if err != nil {
		return nil, err
	}
	run := func(p int, queues []string, args ...any) error {
		v, err := s.evalPart(ctx, s.sc.verify, p, queues, args...)
		if err != nil {
			return err
		}
		lines := row(v.([]any))
		for i := range lines {
			repairs = append(repairs, "job "+string(id)+": "+lines.str(i+1))
		}
		return nil
	}
	for p, n := range info.counts {
		if n == 0 {
			continue
		}
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return repairs, err
		}
		for from := 0; from < len(targets); from += expandStep {
			var queues []string
			args := []any{string(id)}
			for i, t := range targets[from:min(from+expandStep, len(targets))] {
				queues = append(queues, s.k.queue(p, t.Host))
				args = append(args, from+i, string(t.Host), t.Incarnation)
			}
			if err := run(p, queues, args...); err != nil {
				return repairs, err
			}
		}
		if err := run(p, nil, string(id)); err != nil {
			return repairs, err
		}
	}
	return repairs, nil
}
