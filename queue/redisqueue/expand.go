package redisqueue

import (
	"cmp"
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// expandStep is how many hosts one script releases or cancels: more would hold
// up urgent work for longer than a millisecond or few.
const expandStep = 100

// Expand releases planned targets, partition by partition, by cursors that only
// move forward: what two drivers do at once is done once.
func (s *Store) Expand(ctx context.Context, id queue.JobID, driver string, maxHosts int) (queue.Expansion, error) {
	if err := s.enter(); err != nil {
		return queue.Expansion{}, err
	}
	defer s.leave()
	keys := []string{s.k.jobs("all"), s.k.jobs("open"), s.k.jobs("driver")}
	v, err := s.run(ctx, s.sc.drive, keys, s.offset(), string(id), driver, queue.DriverTimeout.Microseconds())
	if err != nil {
		return queue.Expansion{}, err
	}
	switch answer := row(v.([]any)); answer.str(1) {
	case "none":
		return queue.Expansion{}, noJob(id)
	case "done":
		return queue.Expansion{Done: true}, nil
	case "busy":
		return queue.Expansion{Busy: true}, nil
	default:
		commit, err := unpackRow(answer.str(2))
		if err != nil {
			return queue.Expansion{}, failed("expand", err)
		}
		return s.expand(ctx, id, commit, maxHosts)
	}
}

func (s *Store) expand(ctx context.Context, id queue.JobID, commit row, maxHosts int) (e queue.Expansion, err error) {
	info, err := s.info(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		return e, cmp.Or(s.dismiss(ctx, id), err)
	}
	if err != nil {
		return e, err
	}
	if commit.str(rControl) == "c" {
		_, err := s.cancelAll(ctx, info, commit)
		e.Done = err == nil
		return e, err
	}
	cursors, err := s.cursors(ctx, info)
	if err != nil {
		return e, err
	}
	todo, left := info.share(cursors, maxHosts)
	var mu sync.Mutex // guards e and left
	err = each(len(todo), s.width, func(i int) error {
		t := todo[i]
		released, cursor, err := s.expandPart(ctx, info, t.p, t.from, t.to)
		mu.Lock()
		defer mu.Unlock()
		e.Released += released
		e.Passed += cursor - t.from - released
		left += max(0, t.to-cursor)
		return err
	})
	if err != nil || left > 0 {
		return e, err
	}
	e.Done, err = s.closeReleased(ctx, info, commit)
	return e, err
}

// closeReleased closes a job all of whose targets were released: by what was read before. A failover meanwhile may have taken releases,
// and not the closing; then it is open again.
func (s *Store) closeReleased(ctx context.Context, info *jobInfo, commit row) (done bool, err error) {
	if done, err = s.close(ctx, info.job.ID, commit); err != nil || !done {
		return false, err
	}
	return true, s.unclose(ctx, info)
}

// stretch is a part of a partition's targets.
type stretch struct{ p, from, to int }

// share takes up to limit targets beyond the cursors; left tells how many are
// beyond that.
func (i *jobInfo) share(cursors [Partitions]int, limit int) (todo []stretch, left int) {
	for p, n := range i.counts {
		k := min(n-cursors[p], limit)
		if k > 0 {
			todo = append(todo, stretch{p, cursors[p], cursors[p] + k})
			limit -= k
		}
		left += n - cursors[p] - max(k, 0)
	}
	return todo, left
}

// cursors reads how far each partition is expanded, and mends those that have lost it.
func (s *Store) cursors(ctx context.Context, info *jobInfo) (cursors [Partitions]int, err error) {
	cmds := make([]*redis.StringCmd, Partitions)
	err = s.pipeline(ctx, "expand", func(p redis.Pipeliner) {
		for part, n := range info.counts {
			if n > 0 {
				cmds[part] = p.HGet(ctx, s.k.part(part, "d"), "c"+string(info.job.ID))
			}
		}
	})
	if err != nil {
		return cursors, err
	}
	var lost []int
	for part, cmd := range cmds {
		if cmd == nil {
			continue
		}
		if isNil(cmd.Err()) {
			lost = append(lost, part)
			continue
		}
		r, err := unpackFields(cmd.Val())
		if err != nil {
			return cursors, failed("expand", err)
		}
		cursors[part] = int(r.int(cCursor))
	}
	return cursors, s.mend(ctx, info, lost)
}

// expandPart releases a partition's targets, step by step, and gives the
// cursor after.
func (s *Store) expandPart(ctx context.Context, info *jobInfo, p, from, to int) (released, cursor int, err error) {
	targets, err := s.partTargets(ctx, info, p)
	if err != nil {
		return 0, from, err
	}
	for cursor = from; cursor < to; {
		part := targets[cursor:min(cursor+expandStep, to)]
		keys := append(make([]string, 0, len(part)+1), s.k.part(p, "gw"))
		args := []any{string(info.job.ID), cursor}
		for _, t := range part {
			keys = append(keys, s.k.queue(p, t.Host))
			args = append(args, string(t.Host), t.Incarnation)
		}
		v, err := s.runPart(ctx, s.sc.expand, p, keys, args...)
		if err != nil {
			return released, cursor, err
		}
		r := row(v.([]any))
		s.hinter.send(r.row(3))
		if r.int(1) < 0 {
			return released, cursor, noJob(info.job.ID)
		}
		released += int(r.int(2))
		if int(r.int(1)) == cursor { // paused
			return released, cursor, nil
		}
		cursor = int(r.int(1))
	}
	return released, cursor, nil
}

// close takes a job off the list of open ones, unless a cancel came meanwhile.
func (s *Store) close(ctx context.Context, id queue.JobID, commit row) (bool, error) {
	keys := []string{s.k.jobs("all"), s.k.jobs("open"), s.k.jobs("driver")}
	v, err := s.run(ctx, s.sc.close, keys, string(id), commit.str(rControl))
	n, _ := v.(int64)
	return n == 1, err
}
