package redisqueue

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// retainPage is how many jobs a sweep looks at in one go.
const retainPage = 64

// abandoned is after how long a submit that never ended is cleared away.
const abandoned = time.Hour

// retain counts the jobs that have ended, takes those that are too old or too
// much, and clears away what was taken.
func (w *sweep) retain(ctx context.Context, r queue.Retention) error {
	if r != (queue.Retention{}) {
		if err := w.count(ctx); err != nil {
			return err
		}
		if err := w.pick(ctx, "record", "done", "rec", r.RecordAge, r.RecordBytes); err != nil {
			return err
		}
		if err := w.pick(ctx, "output", "outs", "out", r.OutputAge, r.OutputBytes); err != nil {
			return err
		}
	}
	if err := w.clearRecords(ctx); err != nil {
		return err
	}
	if err := w.clearOutputs(ctx); err != nil {
		return err
	}
	return w.clearSubmits(ctx)
}

// count looks which of the jobs not known to have ended have, those first that
// it looked at longest ago.
func (w *sweep) count(ctx context.Context) error {
	s := w.s
	names, err := s.rdb.ZRange(ctx, s.k.jobs("live"), 0, retainPage-1).Result()
	if err != nil || len(names) == 0 {
		return failed("retention", err)
	}
	ids := make([]queue.JobID, len(names))
	for i, n := range names {
		ids[i] = queue.JobID(n)
	}
	infos, err := s.infos(ctx, ids)
	if err != nil {
		return err
	}
	rows, commits, err := s.moving(ctx, ids, infos)
	if err != nil {
		return err
	}
	var gone []any
	var waiting []redis.Z
	looked := float64(time.Now().UnixMicro())
	for i, id := range ids {
		if infos[i] == nil || commits[i] == nil {
			gone = append(gone, string(id))
			continue
		}
		var out, rec, last int64
		done := 0
		for _, r := range rows[i] {
			for n, state := range queue.States() {
				if state.Terminal() {
					done += int(r.row(cCounts).int(n + 1))
				}
			}
			out, rec, last = out+r.int(cOut), rec+r.int(cRec), max(last, r.int(cLast))
		}
		if done < infos[i].job.Targets {
			waiting = append(waiting, redis.Z{Score: looked, Member: string(id)})
			continue
		}
		rec += infos[i].job.ScriptSize
		keys := []string{s.k.jobs("live"), s.k.jobs("done"), s.k.jobs("outs"), s.k.jobs("sizes"), s.k.jobs("totals")}
		if _, err := s.run(ctx, s.sc.ended, keys, string(id), last, out, rec); err != nil {
			return err
		}
	}
	return s.pipeline(ctx, "retention", func(p redis.Pipeliner) {
		if gone != nil {
			p.ZRem(ctx, s.k.jobs("live"), gone...)
		}
		if waiting != nil {
			p.ZAddXX(ctx, s.k.jobs("live"), waiting...)
		}
	})
}

// pick takes the oldest jobs, or their output, while they are too old or all of
// them too large.
func (w *sweep) pick(ctx context.Context, mode, index, total string, age time.Duration, bytes int64) error {
	s := w.s
	for age > 0 || bytes > 0 {
		now, err := s.Now(ctx)
		if err != nil {
			return err
		}
		oldest, err := s.rdb.ZRangeWithScores(ctx, s.k.jobs(index), 0, 0).Result()
		if err != nil {
			return failed("retention", err)
		}
		if len(oldest) == 0 {
			return nil
		}
		sum, err := s.rdb.HGet(ctx, s.k.jobs("totals"), total).Int64()
		if err != nil && !isNil(err) {
			return failed("retention", err)
		}
		id := queue.JobID(oldest[0].Member.(string))
		old := age > 0 && !moment(int64(oldest[0].Score)).After(now.Add(-age))
		if !old && (bytes <= 0 || sum <= bytes) {
			return nil
		}
		if w.take(1) == 0 {
			return nil
		}
		if err := w.gone(ctx, id, mode); err != nil {
			return err
		}
	}
	return nil
}

func (w *sweep) gone(ctx context.Context, id queue.JobID, mode string) error {
	removed, err := w.s.remove(ctx, id, mode)
	if removed {
		w.mu.Lock()
		w.done.Deleted++
		w.mu.Unlock()
	}
	return err
}

// remove takes a job, or its output: what is left of it is cleared away by sweeps. It tells if that was there.
func (s *Store) remove(ctx context.Context, id queue.JobID, mode string) (bool, error) {
	member := ""
	if r, err := s.commitRow(ctx, id); err == nil {
		member = timeMember(r.int(rCreated), id)
	} else if queue.CodeOf(err) != queue.NotFound {
		return false, err
	}
	var keys []string
	for _, name := range []string{"all", "del", "outdel", "done", "outs", "time", "open", "driver", "idem", "sizes", "totals"} {
		keys = append(keys, s.k.jobs(name))
	}
	v, err := s.run(ctx, s.sc.gone, keys, s.offset(), string(id), mode, member)
	if err != nil {
		return false, err
	}
	s.jobs.forget(id)
	n, _ := v.(int64)
	return n == 1, nil
}

// clearRecords removes jobs that were taken.
func (w *sweep) clearRecords(ctx context.Context) error {
	s := w.s
	taken, err := s.rdb.HGetAll(ctx, s.k.jobs("del")).Result()
	if err != nil {
		return failed("retention", err)
	}
	for name, text := range taken {
		r, err := unpackRow(text)
		if err != nil {
			return failed("retention", err)
		}
		id := queue.JobID(name)
		info := &jobInfo{job: queue.Job{ID: id}}
		if err := info.count(r.str(2)); err != nil {
			return failed("retention", err)
		}
		done, err := w.erase(ctx, info, r.int(1), "record")
		if err != nil || !done {
			return err
		}
		if _, err := s.run(ctx, s.sc.drop, []string{s.k.job(id)}, r.int(1)); err != nil {
			return err
		}
		if err := s.rdb.HDel(ctx, s.k.jobs("del"), name).Err(); err != nil {
			return failed("retention", err)
		}
	}
	return nil
}

// clearOutputs removes output that was taken.
func (w *sweep) clearOutputs(ctx context.Context) error {
	s := w.s
	names, err := s.rdb.ZRange(ctx, s.k.jobs("outdel"), 0, retainPage-1).Result()
	if err != nil {
		return failed("retention", err)
	}
	for _, name := range names {
		id := queue.JobID(name)
		info, err := s.known(ctx, id)
		if err == nil {
			done, err := w.erase(ctx, info, info.job.CreatedAt.UnixMicro(), "output")
			if err != nil || !done {
				return err
			}
		} else if queue.CodeOf(err) != queue.NotFound {
			return err
		}
		if err := s.rdb.ZRem(ctx, s.k.jobs("outdel"), name).Err(); err != nil {
			return failed("retention", err)
		}
	}
	return nil
}

// erase removes executions, or their output, from every partition; false if the
// budget ended it.
func (w *sweep) erase(ctx context.Context, info *jobInfo, attempt int64, mode string) (bool, error) {
	for p, n := range info.counts {
		if n == 0 {
			continue
		}
		done, err := w.erasePart(ctx, info, p, attempt, mode)
		if err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

func (w *sweep) erasePart(ctx context.Context, info *jobInfo, p int, attempt int64, mode string) (bool, error) {
	s, id := w.s, info.job.ID
	base := []string{s.k.part(p, "d"), s.k.targets(p, id)}
	targets, err := s.keptTargets(ctx, info, p)
	if queue.CodeOf(err) == queue.NotFound {
		return true, nil // it has been here already, or it was lost
	}
	if err != nil {
		return false, err
	}
	for cursor := 0; cursor >= 0; {
		part := targets[min(cursor, len(targets)):min(cursor+expandStep, len(targets))]
		n := w.take(max(len(part), 1))
		if n == 0 {
			return false, nil
		}
		keys := append([]string{}, base...)
		args := []any{string(id), attempt, mode, cursor}
		for _, t := range part[:min(n, len(part))] {
			keys = append(keys, s.k.output(p, t.Host, id))
			args = append(args, string(t.Host))
		}
		v, err := s.run(ctx, s.sc.erase, keys, args...)
		if err != nil {
			return false, err
		}
		next, _ := v.(int64)
		cursor = int(next)
	}
	if mode == "record" {
		s.targets.forget(targetsKey{id, p})
	}
	return true, nil
}

// clearSubmits removes what submits have left that were given up, or whose
// caller went away.
func (w *sweep) clearSubmits(ctx context.Context) error {
	s := w.s
	pending, err := s.rdb.HGetAll(ctx, s.k.jobs("pending")).Result()
	if err != nil || len(pending) == 0 {
		return failed("retention", err)
	}
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	for name, text := range pending {
		r, err := unpackRow(text)
		if err != nil {
			return failed("retention", err)
		}
		id, attempt := queue.JobID(name), r.int(2)
		if r.str(1) != "" {
			if now.Sub(moment(attempt)) > abandoned {
				s.abort(ctx, id, r.str(1)) // its commit fails from now on; the next sweep clears it
			}
			continue
		}
		if w.take(1) == 0 {
			return nil
		}
		if err := s.clearSubmit(ctx, id, attempt); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) clearSubmit(ctx context.Context, id queue.JobID, attempt int64) error {
	calls := make([]*call, Partitions)
	for p := range calls {
		keys := []string{s.k.part(p, "d"), s.k.targets(p, id)}
		calls[p] = &call{sc: s.sc.wipe, keys: keys, args: []any{string(id), attempt}}
	}
	if err := s.runAll(ctx, calls); err != nil {
		return err
	}
	if _, err := s.run(ctx, s.sc.drop, []string{s.k.job(id)}, attempt); err != nil {
		return err
	}
	_, err := s.run(ctx, s.sc.abort, []string{s.k.jobs("pending")}, string(id), "", strconv.FormatInt(attempt, 10))
	return err
}
