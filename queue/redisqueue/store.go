package redisqueue

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// Store is a queue.Store on Redis. All its methods are safe for concurrent use.
type Store struct {
	rdb     redis.UniversalClient
	cluster bool
	width   int // scripts of one bulk verb that are on their way at once: few per master
	k       *keyspace
	sc      *scripts
	opts    Options
	missing *missing
	lanes   *lanes
	hinter  *hinter
	room    room
	hosts   hostCache
	jobs    *lru[queue.JobID, *jobInfo]
	targets *lru[targetsKey, []queue.Target]
	turn    atomic.Uint64 // where the next sweep begins
	audit   auditCursor
	gone    context.Context // ends with Close: for goroutines that outlive a verb
	stop    context.CancelFunc

	closing sync.RWMutex
	closed  bool // guarded by closing
	verbs   sync.WaitGroup
}

var _ queue.Store = (*Store)(nil)

// Open connects to the store, and checks that it can be one: its version, that
// it doesn't evict, that its layout is this one. It blocks until that is known or ctx
// ends. Errors: Invalid, in one line that says what to change; Unavailable.
func Open(ctx context.Context, o Options) (*Store, error) {
	prefix, err := o.prefix()
	if err != nil {
		return nil, err
	}
	sc, err := loadScripts(!o.slow)
	if err != nil {
		return nil, err
	}
	rdb, err := o.connect()
	if err != nil {
		return nil, err
	}
	_, cluster := rdb.(*redis.ClusterClient)
	s := &Store{rdb: rdb, cluster: cluster, k: newKeyspace(prefix), sc: sc, opts: o, missing: newMissing()}
	err = s.masters(ctx, func(ctx context.Context, node *redis.Client) error {
		if err := check(ctx, node, cluster); err != nil {
			return err
		}
		s.width += 4
		return sc.load(ctx, node)
	})
	if err == nil {
		err = s.agree(ctx)
	}
	if err != nil {
		_ = rdb.Close()
		if strings.Contains(err.Error(), "cluster support disabled") {
			return nil, queue.Errorf(queue.Invalid, "redis isn't a node of a cluster, and the URL says it is")
		}
		return nil, failed("open", err)
	}
	s.lanes = newLanes(s)
	s.jobs = newLRU[queue.JobID, *jobInfo](32 << 20)
	s.targets = newLRU[targetsKey, []queue.Target](64 << 20)
	s.room.bound.Store(o.MaxBytes)
	s.gone, s.stop = context.WithCancel(context.Background())
	s.hinter = newHinter(s)
	return s, nil
}

// Close waits for running verbs, which a Subscribe is not: it ends. Closing
// twice is harmless.
func (s *Store) Close() error {
	s.closing.Lock()
	was := s.closed
	s.closed = true
	s.closing.Unlock()
	if was {
		return nil
	}
	s.stop()
	s.verbs.Wait()
	s.hinter.close()
	s.lanes.close()
	return failed("close", s.rdb.Close())
}

// Now is the store's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.enter(); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	t, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return time.Time{}, failed("time", err)
	}
	return t.Add(time.Duration(s.offset()) * time.Microsecond).UTC(), nil
}
