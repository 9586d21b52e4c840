package redisqueue

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// verifyIndexes sees to it that retention knows a job: as one that may go on, or one that has ended. What is in both does no
// harm: whoever meets it takes it out.
func (s *Store) verifyIndexes(ctx context.Context, id queue.JobID) (repairs []string, err error) {
	// A job goes from live to done in one step, so that one that isn't in either, read in this order, was missing; unless it was
	// removed, or came back to live between, which ZADD tells.
	for _, name := range []string{"live", "done"} {
		err := s.rdb.ZScore(ctx, s.k.jobs(name), string(id)).Err()
		if err == nil {
			return nil, nil
		}
		if !isNil(err) {
			return nil, failed("reconcile", err)
		}
	}
	if _, err := s.commitRow(ctx, id); queue.CodeOf(err) == queue.NotFound {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	n, err := s.rdb.ZAddNX(ctx, s.k.jobs("live"), redis.Z{Member: string(id)}).Result()
	if err != nil || n == 0 {
		return nil, failed("reconcile", err)
	}
	return []string{"job " + string(id) + ": was unknown to retention"}, nil
}
