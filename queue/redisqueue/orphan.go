package redisqueue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// Fields of what is fixed of a job in a partition, as in lua/common.lua.
const sAttempt, sCount = 1, 8

// orphaned has a job removed of which a host was about to get an execution, and that has no commit record: see mend.go. One that is
// being removed anyway is left alone.
func (s *Store) orphaned(ctx context.Context, id queue.JobID) error {
	known := make([]*redis.BoolCmd, 2)
	parts := make([]*redis.StringCmd, Partitions)
	err := s.pipeline(ctx, "lease", func(p redis.Pipeliner) {
		for i, name := range []string{"all", "del"} {
			known[i] = p.HExists(ctx, s.k.jobs(name), string(id))
		}
		for n := range parts {
			parts[n] = p.HGet(ctx, s.k.part(n, "d"), "s"+string(id))
		}
	})
	if err != nil || known[1].Val() {
		return err
	}
	if known[0].Val() { // its script is what is missing
		if err := s.dismiss(ctx, id); queue.CodeOf(err) != queue.NotFound {
			return err
		}
		return nil
	}
	var counts [Partitions]int
	attempt := int64(0)
	for n, cmd := range parts {
		if cmd.Err() != nil {
			continue // it has no targets there
		}
		fixed, err := unpackFields(cmd.Val())
		if err != nil {
			return failed("lease", err)
		}
		counts[n], attempt = int(fixed.int(sCount)), max(attempt, fixed.int(sAttempt))
	}
	keys := []string{s.k.jobs("all"), s.k.jobs("pending"), s.k.jobs("del")}
	v, err := s.run(ctx, s.sc.orphan, keys, string(id), attempt, encodeCounts(counts[:]))
	if err != nil {
		return err
	}
	s.jobs.forget(id)
	if n, _ := v.(int64); n == 1 {
		s.audit.say(fmt.Sprintf("job %s: its record is lost, so that nobody knows of it: its executions are removed", id))
	}
	return nil
}
