package redisqueue

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// jobInfo is what never changes of a job.
type jobInfo struct {
	job    queue.Job // without Control
	counts [Partitions]int
	base   [Partitions]int // ordinal of each partition's first target
}

type targetsKey struct {
	job queue.JobID
	p   int
}

func encodeCounts(counts []int) string {
	var b []byte
	for _, n := range counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return string(b)
}

// count fills counts and base from a commit record.
func (i *jobInfo) count(s string) error {
	b, sum := []byte(s), 0
	for p := range i.counts {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return errors.New("commit record: bad counts")
		}
		b = b[size:]
		i.counts[p], i.base[p] = int(n), sum
		sum += int(n)
	}
	return nil
}

// at gives partition and index of an ordinal.
func (i *jobInfo) at(ordinal int) (p, index int) {
	for p = 0; p < Partitions-1 && i.base[p]+i.counts[p] <= ordinal; p++ {
	}
	return p, ordinal - i.base[p]
}

func encodeTargets(targets []queue.Target) string {
	var b []byte
	for _, t := range targets {
		b = binary.AppendUvarint(b, uint64(len(t.Host)))
		b = append(b, t.Host...)
		b = binary.AppendUvarint(b, uint64(t.Incarnation))
	}
	return string(b)
}

func decodeTargets(s string) ([]queue.Target, error) {
	var targets []queue.Target
	for b := []byte(s); len(b) > 0; {
		n, size := binary.Uvarint(b)
		if size <= 0 || uint64(len(b)-size) < n {
			return nil, errors.New("targets are cut")
		}
		host := queue.HostID(b[size : size+int(n)])
		b = b[size+int(n):]
		inc, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, errors.New("targets are cut")
		}
		b = b[size:]
		targets = append(targets, queue.Target{Host: host, Incarnation: int64(inc)})
	}
	return targets, nil
}

// commitRow reads a job's commit record. Errors: NotFound.
func (s *Store) commitRow(ctx context.Context, id queue.JobID) (row, error) {
	v, err := s.rdb.HGet(ctx, s.k.jobs("all"), string(id)).Result()
	if isNil(err) {
		s.jobs.forget(id)
		return nil, noJob(id)
	}
	if err != nil {
		return nil, failed("job", err)
	}
	r, err := unpackRow(v)
	return r, failed("job", err)
}

// info gives what never changes of a job, from the cache if it is there.
// Errors: NotFound.
func (s *Store) info(ctx context.Context, id queue.JobID) (*jobInfo, error) {
	if i, ok := s.jobs.get(id); ok {
		return i, nil
	}
	infos, err := s.infos(ctx, []queue.JobID{id})
	if err != nil {
		return nil, err
	}
	if infos[0] == nil {
		return nil, noJob(id)
	}
	return infos[0], nil
}

// infos is info for several; nil where there is no such job.
func (s *Store) infos(ctx context.Context, ids []queue.JobID) ([]*jobInfo, error) {
	infos := make([]*jobInfo, len(ids))
	specs, commits := make([]*redis.StringCmd, len(ids)), make([]*redis.StringCmd, len(ids))
	missing := 0
	for i, id := range ids {
		if infos[i], _ = s.jobs.get(id); infos[i] == nil {
			missing++
		}
	}
	if missing == 0 {
		return infos, nil
	}
	err := s.pipeline(ctx, "job", func(p redis.Pipeliner) {
		for i, id := range ids {
			if infos[i] == nil {
				specs[i] = p.HGet(ctx, s.k.job(id), "spec")
				commits[i] = p.HGet(ctx, s.k.jobs("all"), string(id))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if infos[i] != nil || specs[i].Err() != nil || commits[i].Err() != nil {
			continue
		}
		info, err := decodeInfo(specs[i].Val(), commits[i].Val())
		if err != nil {
			return nil, failed("job "+string(id), err)
		}
		infos[i] = info
		s.jobs.put(id, info, 2048+len(specs[i].Val()))
	}
	return infos, nil
}

func decodeInfo(spec, commit string) (*jobInfo, error) {
	r, err := unpackRow(commit)
	if err != nil {
		return nil, err
	}
	var info jobInfo
	if err := json.Unmarshal([]byte(spec), &info.job); err != nil {
		return nil, err
	}
	// The commit decides which attempt of a submit counted.
	info.job.CreatedAt = moment(r.int(rCreated))
	return &info, info.count(r.str(rCounts))
}

// partTargets gives a partition's targets of a job, from their copy if they are lost.
func (s *Store) partTargets(ctx context.Context, info *jobInfo, p int) ([]queue.Target, error) {
	t, err := s.keptTargets(ctx, info, p)
	if queue.CodeOf(err) == queue.NotFound {
		split, err := s.copied(ctx, info)
		return split[p], err
	}
	return t, err
}

// keptTargets gives what a partition itself has of a job's targets. Errors: NotFound, if they were removed, or lost.
func (s *Store) keptTargets(ctx context.Context, info *jobInfo, p int) ([]queue.Target, error) {
	if info.counts[p] == 0 {
		return nil, nil
	}
	key := targetsKey{info.job.ID, p}
	if t, ok := s.targets.get(key); ok {
		return t, nil
	}
	v, err := s.rdb.Get(ctx, s.k.targets(p, info.job.ID)).Result()
	if isNil(err) {
		return nil, noJob(info.job.ID)
	}
	if err != nil {
		return nil, failed("targets", err)
	}
	t, err := decodeTargets(v)
	if err == nil && len(t) != info.counts[p] {
		err = fmt.Errorf("partition %d has %d of %d of job %s", p, len(t), info.counts[p], info.job.ID)
	}
	if err != nil {
		return nil, failed("targets", err)
	}
	s.targets.put(key, t, 32*len(t)+len(v))
	return t, nil
}

// Job gives a job and its counters.
func (s *Store) Job(ctx context.Context, id queue.JobID) (queue.JobStatus, error) {
	if err := s.enter(); err != nil {
		return queue.JobStatus{}, err
	}
	defer s.leave()
	if err := id.Validate(); err != nil {
		return queue.JobStatus{}, noJob(id)
	}
	info, err := s.known(ctx, id)
	if queue.CodeOf(err) == queue.NotFound {
		return queue.JobStatus{}, cmp.Or(s.dismiss(ctx, id), noJob(id))
	}
	if err != nil {
		return queue.JobStatus{}, err
	}
	status := func() (st queue.JobStatus, lost []int, err error) {
		rows, commits, missing, err := s.movingParts(ctx, []queue.JobID{id}, []*jobInfo{info})
		if err == nil && commits[0] == nil {
			err = noJob(id)
		}
		if err != nil {
			return st, nil, err
		}
		return info.status(rows[0], commits[0]), missing[0], nil
	}
	st, lost, err := status()
	if err != nil || len(lost) == 0 && st.Counters[queue.Planned] == 0 {
		return st, err
	}
	if len(lost) > 0 {
		err = s.mend(ctx, info, lost)
	} else {
		err = s.unclose(ctx, info)
	}
	if queue.CodeOf(err) == queue.NotFound {
		return queue.JobStatus{}, err
	}
	if err == nil && len(lost) > 0 {
		st, _, err = status()
		return st, err
	}
	return st, nil // if it can't be repaired now, this is what is known meanwhile
}

// statuses reads jobs with their counters; those that are gone are left out.
func (s *Store) statuses(ctx context.Context, ids []queue.JobID) ([]queue.JobStatus, error) {
	infos, err := s.infos(ctx, ids)
	if err != nil {
		return nil, err
	}
	rows, commits, err := s.moving(ctx, ids, infos)
	if err != nil {
		return nil, err
	}
	var list []queue.JobStatus
	for i, info := range infos {
		if info == nil || commits[i] == nil {
			continue
		}
		list = append(list, info.status(rows[i], commits[i]))
	}
	return list, nil
}

// status adds up what partitions have of a job.
func (i *jobInfo) status(rows []row, commit row) queue.JobStatus {
	st := queue.JobStatus{Job: i.job, Counters: queue.Counters{}}
	st.Control = controlOf(commit.str(rControl))
	var last int64
	for _, r := range rows {
		for n, state := range queue.States() {
			st.Counters[state] += int(r.row(cCounts).int(n + 1))
		}
		last = max(last, r.int(cLast))
	}
	if st.Counters.Done() == st.Targets {
		st.FinishedAt = moment(last)
	}
	return st
}

// moving reads the moving part of jobs in every partition that has targets of
// them, and their commit records (nil if gone). Where a partition has lost its part, all in it is planned.
func (s *Store) moving(ctx context.Context, ids []queue.JobID, infos []*jobInfo) (rows [][]row, commits []row, err error) {
	rows, commits, _, err = s.movingParts(ctx, ids, infos)
	return rows, commits, err
}

// movingParts is moving, and names the partitions that have lost their part.
func (s *Store) movingParts(ctx context.Context, ids []queue.JobID, infos []*jobInfo) (rows [][]row, commits []row, lost [][]int, err error) {
	var all *redis.SliceCmd
	cmds := make([]*redis.SliceCmd, Partitions)
	err = s.pipeline(ctx, "job", func(p redis.Pipeliner) {
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = string(id)
		}
		all = p.HMGet(ctx, s.k.jobs("all"), names...)
		for part := range Partitions {
			var fields []string
			for i, info := range infos {
				if info != nil && info.counts[part] > 0 {
					fields = append(fields, "c"+string(ids[i]))
				}
			}
			if fields != nil {
				cmds[part] = p.HMGet(ctx, s.k.part(part, "d"), fields...)
			}
		}
	})
	if err != nil {
		return nil, nil, nil, err
	}
	rows, commits, lost = make([][]row, len(ids)), make([]row, len(ids)), make([][]int, len(ids))
	for i, v := range all.Val() {
		if text, ok := v.(string); ok {
			if commits[i], err = unpackRow(text); err != nil {
				return nil, nil, nil, failed("job", err)
			}
		} else {
			s.jobs.forget(ids[i])
		}
	}
	for part, cmd := range cmds {
		if cmd == nil {
			continue
		}
		n := 0
		for i, info := range infos {
			if info == nil || info.counts[part] == 0 {
				continue
			}
			text, ok := cmd.Val()[n].(string)
			if !ok {
				text = movingPart(info.counts[part], "a", "", 0, 0)
				lost[i] = append(lost[i], part)
			}
			n++
			r, err := unpackFields(text)
			if err != nil {
				return nil, nil, nil, failed("job", err)
			}
			rows[i] = append(rows[i], r)
		}
	}
	return rows, commits, lost, nil
}
