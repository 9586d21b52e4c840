package redisqueue

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// ListJobs lists jobs, newest first. The cursor is the last one's place in time.
func (s *Store) ListJobs(ctx context.Context, after string, limit int) ([]queue.JobStatus, string, error) {
	if err := s.enter(); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := queue.ValidateLimit(limit); err != nil {
		return nil, "", err
	}
	top := "+"
	if after != "" {
		if len(after) != 42 || strings.Trim(after[:16], "0123456789abcdef") != "" {
			return nil, "", queue.Errorf(queue.Invalid, "cursor %.60q isn't one of this listing", after)
		}
		top = "(" + after
	}
	members, err := s.rdb.ZRevRangeByLex(ctx, s.k.jobs("time"), &redis.ZRangeBy{Max: top, Min: "-", Count: int64(limit) + 1}).Result()
	if err != nil {
		return nil, "", failed("list jobs", err)
	}
	next := ""
	if len(members) > limit {
		members = members[:limit]
		next = members[limit-1]
	}
	var list []queue.JobStatus
	for page := range slices.Chunk(members, 100) {
		ids := make([]queue.JobID, len(page))
		for i, m := range page {
			ids[i] = queue.JobID(m[16:])
		}
		part, err := s.statuses(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		list = append(list, part...)
	}
	return list, next, nil
}

// OpenJobs lists jobs with something to expand, oldest first.
func (s *Store) OpenJobs(ctx context.Context, limit int) ([]queue.JobID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	names, err := s.rdb.ZRange(ctx, s.k.jobs("open"), 0, int64(max(limit, 1))-1).Result()
	ids := make([]queue.JobID, len(names))
	for i, n := range names {
		ids[i] = queue.JobID(n)
	}
	return ids, failed("open jobs", err)
}

// Script gives a job's payload.
func (s *Store) Script(ctx context.Context, id queue.JobID) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if _, err := s.commitRow(ctx, id); err != nil {
		return nil, err
	}
	b, err := s.rdb.HGet(ctx, s.k.job(id), "script").Bytes()
	if isNil(err) {
		return nil, noJob(id)
	}
	return b, failed("script", err)
}
