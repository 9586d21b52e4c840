package redisqueue

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// known gives a job that is there, with its fixed part.
func (s *Store) known(ctx context.Context, id queue.JobID) (*jobInfo, error) {
	if _, err := s.commitRow(ctx, id); err != nil {
		return nil, err
	}
	return s.info(ctx, id)
}

// States gives one state byte per target, in one pipelined read of at most 128
// commands.
func (s *Store) States(ctx context.Context, id queue.JobID) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	info, err := s.known(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.states(ctx, info, 0, Partitions)
}

// states reads the bytes of the partitions from..to-1.
func (s *Store) states(ctx context.Context, info *jobInfo, from, to int) ([]byte, error) {
	cmds := make([]*redis.SliceCmd, Partitions)
	err := s.pipeline(ctx, "states", func(p redis.Pipeliner) {
		for part := from; part < to; part++ {
			if info.counts[part] > 0 {
				cmds[part] = p.HMGet(ctx, s.k.part(part, "d"), shardFields(info, part)...)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var b []byte
	lost := false
	for part, cmd := range cmds {
		if cmd == nil {
			continue
		}
		for i, v := range cmd.Val() {
			text, ok := v.(string)
			if !ok { // all are planned again, unless the job was removed just now
				lost = true
				text = strings.Repeat(string(rune(queue.Planned)), min(shardSize, info.counts[part]-i*shardSize))
			}
			b = append(b, text...)
		}
	}
	if lost {
		if _, err := s.commitRow(ctx, info.job.ID); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Targets gives the targets from an ordinal on.
func (s *Store) Targets(ctx context.Context, id queue.JobID, from, limit int) ([]queue.HostID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	info, err := s.known(ctx, id)
	if err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, queue.Errorf(queue.Invalid, "targets from %d", from)
	}
	var hosts []queue.HostID
	for from < info.job.Targets && len(hosts) < limit {
		p, index := info.at(from)
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return nil, err
		}
		for _, t := range targets[index:min(len(targets), index+limit-len(hosts))] {
			hosts = append(hosts, t.Host)
			from++
		}
	}
	return hosts, nil
}

// Execution gives one execution.
func (s *Store) Execution(ctx context.Context, id queue.JobID, host queue.HostID) (queue.Execution, error) {
	if err := s.enter(); err != nil {
		return queue.Execution{}, err
	}
	defer s.leave()
	info, err := s.known(ctx, id)
	if err != nil {
		return queue.Execution{}, err
	}
	x, _, err := s.execution(ctx, info, host)
	return x, err
}

// execution reads one with its record, which is nil while it is planned.
func (s *Store) execution(ctx context.Context, info *jobInfo, host queue.HostID) (x queue.Execution, r row, err error) {
	p := partition(host)
	v, err := s.rdb.HGet(ctx, s.k.part(p, "d"), field(host, info.job.ID)).Result()
	if err != nil && !isNil(err) {
		return x, nil, failed("execution", err)
	}
	if err == nil {
		if r, err = unpackFields(v); err != nil {
			return x, nil, failed("execution", err)
		}
		return info.execution(p, host, r), r, nil
	}
	targets, err := s.partTargets(ctx, info, p)
	if err != nil {
		return x, nil, err
	}
	for index, t := range targets {
		if t.Host == host {
			return info.planned(p, index, t), nil, nil
		}
	}
	return x, nil, queue.Errorf(queue.NotFound, "host %s is no target of job %s", host, info.job.ID)
}

// Executions lists a job's executions. The cursor is the ordinal to go on from.
func (s *Store) Executions(ctx context.Context, q queue.ExecutionQuery) (xs []queue.Execution, next string, err error) {
	if err := s.enter(); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := queue.ValidateLimit(q.Limit); err != nil {
		return nil, "", err
	}
	from := 0
	if q.After != "" {
		if from, err = strconv.Atoi(q.After); err != nil || from < 0 {
			return nil, "", queue.Errorf(queue.Invalid, "cursor %.60q isn't one of this listing", q.After)
		}
	}
	info, err := s.known(ctx, q.Job)
	if err != nil {
		return nil, "", err
	}
	limit := q.Limit
	for from < info.job.Targets {
		// As many partitions at once as an unfiltered page would need, at least 8.
		p, _ := info.at(from)
		to := p
		for n := 0; to < Partitions && (n < limit || to-p < 8); to++ {
			n += info.counts[to]
		}
		states, err := s.states(ctx, info, p, to)
		if err != nil {
			return nil, "", err
		}
		var ordinals []int
		for i, state := range states {
			ordinal := info.base[p] + i
			if ordinal >= from && (q.States == nil || slices.Contains(q.States, queue.State(state))) {
				ordinals = append(ordinals, ordinal)
			}
		}
		ordinals = ordinals[:min(len(ordinals), limit-len(xs)+1)]
		page, err := s.readOrdinals(ctx, info, ordinals, q.States)
		if err != nil {
			return nil, "", err
		}
		for _, x := range page {
			if len(xs) == limit {
				return xs, strconv.Itoa(x.Ordinal), nil
			}
			xs = append(xs, x)
		}
		if len(page) < len(ordinals) {
			from = ordinals[len(ordinals)-1] + 1 // some moved on meanwhile
			continue
		}
		from = info.job.Targets
		if to < Partitions {
			from = info.base[to]
		}
	}
	return xs, "", nil
}

// readOrdinals reads the executions at ordinals, which ascend, and leaves out
// those that have left the wanted states meanwhile.
func (s *Store) readOrdinals(ctx context.Context, info *jobInfo, ordinals []int, want []queue.State) ([]queue.Execution, error) {
	type place struct{ p, index int }
	places := make([]place, len(ordinals))
	fields := make([][]string, Partitions)
	targets := make([]queue.Target, len(ordinals))
	for i, o := range ordinals {
		p, index := info.at(o)
		all, err := s.partTargets(ctx, info, p)
		if err != nil {
			return nil, err
		}
		places[i], targets[i] = place{p, index}, all[index]
		fields[p] = append(fields[p], field(targets[i].Host, info.job.ID))
	}
	cmds := make([]*redis.SliceCmd, Partitions)
	err := s.pipeline(ctx, "executions", func(p redis.Pipeliner) {
		for part, f := range fields {
			if f != nil {
				cmds[part] = p.HMGet(ctx, s.k.part(part, "d"), f...)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var xs []queue.Execution
	seen := make([]int, Partitions)
	for i, pl := range places {
		x := info.planned(pl.p, pl.index, targets[i])
		if text, ok := cmds[pl.p].Val()[seen[pl.p]].(string); ok {
			r, err := unpackFields(text)
			if err != nil {
				return nil, failed("executions", err)
			}
			x = info.execution(pl.p, targets[i].Host, r)
		}
		seen[pl.p]++
		if want == nil || slices.Contains(want, x.State) {
			xs = append(xs, x)
		}
	}
	return xs, nil
}

// HostQueue lists a host's executions that are neither planned nor ended.
func (s *Store) HostQueue(ctx context.Context, host queue.HostID, limit int) ([]queue.Execution, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	p, limit := partition(host), min(max(limit, 1), 10_000)
	v, err := s.run(ctx, s.sc.queue, []string{s.k.part(p, "d"), s.k.part(p, "own"), s.k.queue(p, host)}, string(host), limit)
	if err != nil {
		return nil, err
	}
	list := row(v.([]any))
	var ids []queue.JobID
	for i := 1; i < len(list); i += 2 {
		ids = append(ids, queue.JobID(list.str(i)))
	}
	infos, err := s.infos(ctx, ids)
	if err != nil {
		return nil, err
	}
	var xs []queue.Execution
	age := make(map[queue.JobID]time.Time)
	for i, info := range infos {
		if info == nil {
			continue
		}
		r, err := unpackFields(list.str(2*i + 2))
		if err != nil {
			return nil, failed("host queue", err)
		}
		xs = append(xs, info.execution(p, host, r))
		age[info.job.ID] = info.job.CreatedAt
	}
	slices.SortStableFunc(xs, func(a, b queue.Execution) int {
		if a.State.InFlight() != b.State.InFlight() {
			if a.State.InFlight() {
				return -1
			}
			return 1
		}
		return cmp.Or(queue.CompareLanes(a.Lane, b.Lane), b.Priority-a.Priority, age[a.Job].Compare(age[b.Job]), cmp.Compare(a.Job, b.Job))
	})
	return xs[:min(len(xs), limit)], nil
}
