package redisqueue

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// auditCursor is where the next Reconcile goes on.
type auditCursor struct {
	mu    sync.Mutex // guards the rest
	at    string     // member of time; "" = from the newest
	lines []string   // of what others have repaired since
}

// auditLines is how many lines are kept for the next Reconcile.
const auditLines = 1000

// say keeps a line for Reconcile.
func (a *auditCursor) say(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lines) < auditLines {
		a.lines = append(a.lines, line)
	}
}

// said gives the lines, once.
func (a *auditCursor) said() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	lines := a.lines
	a.lines = nil
	return lines
}

// Reconcile holds what is derived against the records, job by job, newest first,
// and goes on where the call before stopped: first the state bytes, queues and
// deadlines, 100 hosts a script, then the counters against the bytes.
func (s *Store) Reconcile(ctx context.Context, budget int) (repairs []string, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	defer func() { repairs = append(repairs, s.audit.said()...) }()
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
	err = s.dismiss(ctx, id)
	var info *jobInfo
	if err == nil {
		info, err = s.known(ctx, id)
	}
	var lost []int
	if err == nil {
		lost, err = s.lost(ctx, info, info.parts())
	}
	if err == nil {
		err = s.mend(ctx, info, lost)
	}
	if err == nil {
		err = s.unclose(ctx, info)
	}
	if queue.CodeOf(err) == queue.NotFound {
		return nil, nil // it went meanwhile
	}
	if err != nil {
		return nil, err
	}
	run := func(calls []*call) error {
		err := s.runAll(ctx, calls)
		for _, c := range calls {
			lines, _ := c.val.([]any)
			for i := range lines {
				repairs = append(repairs, "job "+string(id)+": "+row(lines).str(i+1))
			}
		}
		return err
	}
	for first := 0; first < Partitions; first += 16 {
		var states, counters []*call
		for p := first; p < first+16; p++ {
			if info.counts[p] == 0 {
				continue
			}
			targets, err := s.partTargets(ctx, info, p)
			if queue.CodeOf(err) == queue.NotFound {
				return repairs, nil // as above
			}
			if err != nil {
				return repairs, err
			}
			for from := 0; from < len(targets); from += expandStep {
				states = append(states, s.verifyCall(id, p, targets, from))
			}
			counters = append(counters, s.verifyCall(id, p, nil, 0))
		}
		if err := run(states); err != nil {
			return repairs, err
		}
		if err := run(counters); err != nil {
			return repairs, err
		}
	}
	lines, err := s.verifyIndexes(ctx, id)
	return append(repairs, lines...), err
}

// verifyCall checks a step of a partition's targets; without targets, its counters.
func (s *Store) verifyCall(id queue.JobID, p int, targets []queue.Target, from int) *call {
	var queues []string
	args := []any{string(id)}
	for i, t := range targets[from:min(from+expandStep, len(targets))] {
		queues = append(queues, s.k.queue(p, t.Host))
		args = append(args, from+i, string(t.Host), t.Incarnation)
	}
	return &call{sc: s.sc.verify, keys: s.k.with(p, queues...), args: s.args(args)}
}
