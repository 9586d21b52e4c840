package redisqueue

import (
	"context"

	"github.com/rexgate/rexgate/queue"
)

// Purge implements queue.Jobs.
func (s *Store) Purge(ctx context.Context, host queue.HostID, running bool, by string) (queue.Cancellation, error) {
	return queue.Cancellation{}, queue.Errorf(queue.Unavailable, "purging is not part of this store yet")
}

// Situations implements queue.Reader.
func (s *Store) Situations(ctx context.Context, job queue.JobID, hosts []queue.HostID) ([]queue.Situation, error) {
	return nil, queue.Errorf(queue.Unavailable, "situations are not part of this store yet")
}
