package redisqueue

import (
	"context"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// SetBound changes Options.MaxBytes.
func (s *Store) SetBound(n int64) { s.room.bound.Store(n) }

// PartitionOf tells where a host is.
func PartitionOf(h queue.HostID) int { return partition(h) }

// Key names a key of a partition.
func (s *Store) Key(p int, name string) string { return s.k.part(p, name) }

// JobsKey names a key of those about all jobs.
func (s *Store) JobsKey(name string) string { return s.k.jobs(name) }

// Client is the store's own.
func (s *Store) Client() redis.UniversalClient { return s.rdb }

// Slow gives options by which calls of the usual kind go the way of all others.
func Slow(o Options) Options { o.slow = true; return o }

// CloseReleased ends the release of a job as Expand does once it has released all targets.
func (s *Store) CloseReleased(ctx context.Context, id queue.JobID) error {
	info, err := s.info(ctx, id)
	if err != nil {
		return err
	}
	commit, err := s.commitRow(ctx, id)
	if err != nil {
		return err
	}
	_, err = s.closeReleased(ctx, info, commit)
	return err
}

// Bound is what a job goes through before it is opened again.
func (s *Store) Bound(ctx context.Context, id queue.JobID) error {
	info, err := s.info(ctx, id)
	if err != nil {
		return err
	}
	return s.bound(ctx, info)
}
