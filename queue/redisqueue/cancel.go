package redisqueue

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rexgate/rexgate/queue"
)

// Cancel ends executions of a job. For a whole job the intent is in the
// commit record first, and with it in "open"; whoever expands goes on with it.
func (s *Store) Cancel(ctx context.Context, id queue.JobID, hosts []queue.HostID, by string) (queue.Cancellation, error) {
	if err := s.enter(); err != nil {
		return queue.Cancellation{}, err
	}
	defer s.leave()
	why := cutReason(queue.WhyCancelled(by))
	if hosts != nil {
		return s.cancelHosts(ctx, id, hosts, why)
	}
	v, err := s.run(ctx, s.sc.intent, []string{s.k.jobs("all"), s.k.jobs("open")}, s.offset(), string(id), why)
	if err != nil {
		return queue.Cancellation{}, err
	}
	text, ok := v.(string)
	if !ok {
		return queue.Cancellation{}, noJob(id)
	}
	commit, err := unpackRow(text)
	if err != nil {
		return queue.Cancellation{}, failed("cancel", err)
	}
	info, err := s.info(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		return queue.Cancellation{}, cmp.Or(s.dismiss(ctx, id), err)
	}
	if err != nil {
		return queue.Cancellation{}, err
	}
	return s.cancelAll(ctx, info, commit)
}

// cancelAll applies a job's intent to cancel to every execution that hasn't
// ended, and then closes the job.
func (s *Store) cancelAll(ctx context.Context, info *jobInfo, commit row) (sum queue.Cancellation, err error) {
	parts := info.parts()
	lost, err := s.lost(ctx, info, parts)
	if err == nil {
		err = s.mend(ctx, info, lost)
	}
	if err != nil {
		return sum, err
	}
	var mu sync.Mutex // guards sum
	err = each(len(parts), s.width, func(i int) error {
		p := parts[i]
		states, err := s.partStates(ctx, info, p)
		if err != nil {
			return err
		}
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return err
		}
		var todo []int
		for index, state := range states {
			if !queue.State(state).Terminal() {
				todo = append(todo, index)
			}
		}
		// Once at least, for the control that the partition keeps.
		for from := 0; from == 0 || from < len(todo); from += expandStep {
			step := todo[from:min(from+expandStep, len(todo))]
			c, err := s.cancelStep(ctx, info, p, targets, step, commit.str(rWhy), true)
			mu.Lock()
			sum.Cancelled += c.Cancelled
			sum.Asked += c.Asked
			mu.Unlock()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return sum, err
	}
	_, err = s.close(ctx, info.job.ID, commit)
	return sum, err
}

// cancelHosts cancels a job's executions on some hosts.
func (s *Store) cancelHosts(ctx context.Context, id queue.JobID, hosts []queue.HostID, why string) (sum queue.Cancellation, err error) {
	if _, err := s.commitRow(ctx, id); err != nil {
		return sum, err
	}
	info, err := s.info(ctx, id)
	if err != nil {
		return sum, err
	}
	wanted := make(map[int]map[queue.HostID]bool)
	for _, h := range hosts {
		p := partition(h)
		if wanted[p] == nil {
			wanted[p] = make(map[queue.HostID]bool)
		}
		wanted[p][h] = true
	}
	var unknown []string
	todo := make(map[int][]int)
	for p, names := range wanted {
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return sum, err
		}
		for index, t := range targets {
			if names[t.Host] {
				todo[p] = append(todo[p], index)
				delete(names, t.Host)
			}
		}
		for h := range names {
			if len(unknown) < 20 {
				unknown = append(unknown, string(h))
			}
		}
	}
	if len(unknown) > 0 {
		return sum, &queue.Error{Code: queue.NotFound, Message: fmt.Sprintf("job %s has no target %s", id, unknown[0]), Items: unknown}
	}
	lost, err := s.lost(ctx, info, slices.Collect(maps.Keys(todo)))
	if err == nil {
		err = s.mend(ctx, info, lost)
	}
	if err != nil {
		return sum, err
	}
	for p, indexes := range todo {
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return sum, err
		}
		for from := 0; from < len(indexes); from += expandStep {
			c, err := s.cancelStep(ctx, info, p, targets, indexes[from:min(from+expandStep, len(indexes))], why, false)
			sum.Cancelled += c.Cancelled
			sum.Asked += c.Asked
			if err != nil {
				return sum, err
			}
		}
	}
	return sum, nil
}

func (s *Store) cancelStep(ctx context.Context, info *jobInfo, p int, targets []queue.Target, indexes []int, why string, whole bool) (c queue.Cancellation, err error) {
	queues := make([]string, len(indexes))
	flag := "0"
	if whole {
		flag = "1"
	}
	args := []any{string(info.job.ID), flag, why}
	for i, index := range indexes {
		t := targets[index]
		queues[i] = s.k.queue(p, t.Host)
		args = append(args, index, string(t.Host), t.Incarnation)
	}
	v, err := s.runPart(ctx, s.sc.cancel, p, queues, args...)
	if err != nil {
		return c, err
	}
	r := row(v.([]any))
	s.hinter.send(r.row(3))
	return queue.Cancellation{Cancelled: int(r.int(1)), Asked: int(r.int(2))}, nil
}

// partStates reads a partition's state bytes of a job.
func (s *Store) partStates(ctx context.Context, info *jobInfo, p int) ([]byte, error) {
	var b []byte
	fields := shardFields(info, p)
	for len(fields) > 0 {
		n := min(len(fields), 500)
		vals, err := s.rdb.HMGet(ctx, s.k.part(p, "d"), fields[:n]...).Result()
		if err != nil && !isNil(err) {
			return nil, failed("states", err)
		}
		for _, v := range vals {
			text, ok := v.(string)
			if !ok {
				return nil, noJob(info.job.ID)
			}
			b = append(b, text...)
		}
		fields = fields[n:]
	}
	return b, nil
}

func shardFields(info *jobInfo, p int) []string {
	fields := make([]string, (info.counts[p]+shardSize-1)/shardSize)
	for i := range fields {
		fields[i] = shardField(info.job.ID, i)
	}
	return fields
}

// cutReason bounds a text as queue bounds the reasons of results.
func cutReason(t string) string {
	if len(t) <= queue.MaxReason {
		return t
	}
	n := queue.MaxReason
	for n > 0 && t[n]&0xC0 == 0x80 {
		n--
	}
	return t[:n]
}
