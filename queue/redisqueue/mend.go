package redisqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// A failover to a replica that lags takes back what one master did last. In a cluster the others keep theirs, so that of
// a job there may be missing:
//
//   - what a partition has of it (s<job>, c<job>, state bytes, targets: one function wrote them, so that they go
//     together): it is written anew from the copy of the targets that is with the script;
//   - the release of a partition's targets, while the list of open jobs says that all are released: it is
//     open again;
//   - its script, with that copy: then there is nothing to run or to rebuild, and the job is removed;
//   - its commit record, so that nobody knows of it: what partitions have of it is removed, since its
//     executions would stand before those of others for as long as they may be delivered. This also happens with one
//     master, to a job that is being released while that fails over.
//
// Whoever meets it repairs it, as often and as many at once as may be; Reconcile looks for the rest, and has a line of each.

// limit is until when executions that were rebuilt may be delivered: as long as hosts surely keep their records of
// what they accepted of the job before. See C_LIMIT.
func (i *jobInfo) limit() time.Time {
	from := i.job.CreatedAt
	if i.job.Spec.NotBefore.After(from) {
		from = i.job.Spec.NotBefore
	}
	return from.Add(i.job.Spec.PickupTimeout)
}

// parts lists the partitions that have targets of the job.
func (i *jobInfo) parts() (parts []int) {
	for p, n := range i.counts {
		if n > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

// lost tells which of some partitions have nothing of a job.
func (s *Store) lost(ctx context.Context, info *jobInfo, parts []int) (lost []int, err error) {
	values, targets := make([]*redis.SliceCmd, len(parts)), make([]*redis.IntCmd, len(parts))
	id := info.job.ID
	err = s.pipeline(ctx, "job", func(pipe redis.Pipeliner) {
		for i, p := range parts {
			values[i] = pipe.HMGet(ctx, s.k.part(p, "d"), "s"+string(id), "c"+string(id))
			targets[i] = pipe.Exists(ctx, s.k.targets(p, id))
		}
	})
	if err != nil {
		return nil, err
	}
	for i, p := range parts {
		if v := values[i].Val(); v[0] == nil || v[1] == nil || targets[i].Val() == 0 {
			lost = append(lost, p)
		}
	}
	return lost, nil
}

// copied gives the copy of a job's targets. Errors: NotFound, if there is none.
func (s *Store) copied(ctx context.Context, info *jobInfo) (split [Partitions][]queue.Target, err error) {
	b, err := s.rdb.HGet(ctx, s.k.job(info.job.ID), "targets").Bytes()
	if isNil(err) {
		return split, noJob(info.job.ID)
	}
	if err != nil {
		return split, failed("targets", err)
	}
	if split, err = decodeCopy(b); err != nil {
		return split, failed("targets", err)
	}
	for p, n := range info.counts {
		if len(split[p]) != n {
			return split, failed("targets", errors.New("the copy isn't of this job"))
		}
	}
	return split, nil
}

// mend writes anew what partitions have lost of a job. Errors: NotFound, if it is being removed, or was now.
func (s *Store) mend(ctx context.Context, info *jobInfo, lost []int) error {
	if len(lost) == 0 {
		return nil
	}
	id := info.job.ID
	commit, err := s.commitRow(ctx, id)
	if err != nil {
		return err
	}
	split, err := s.copied(ctx, info)
	if queue.CodeOf(err) == queue.NotFound {
		return s.dismiss(ctx, id)
	}
	if err != nil {
		return err
	}
	recheck, err := queue.ParseSelector(info.job.Spec.Recheck)
	if err != nil {
		return failed("job "+string(id), err)
	}
	// Before, so that what is written is expanded whatever happens to this call; and after, since an expansion that
	// began earlier may have closed it meanwhile.
	if _, err := s.reopen(ctx, id); err != nil {
		return err
	}
	calls := make([]*call, len(lost))
	for i, p := range lost {
		n := info.counts[p]
		calls[i] = &call{sc: s.sc.restore, keys: []string{s.k.part(p, "d"), s.k.targets(p, id)}, args: []any{string(id), fixedPart(&info.job, recheck, n),
			movingPart(n, commit.str(rControl), commit.str(rWhy), commit.int(rAt), micros(info.limit())), encodeTargets(split[p]), n, ""}}
	}
	err = s.runAll(ctx, calls)
	for i, p := range lost {
		if calls[i].val == "lost" {
			s.audit.say(fmt.Sprintf("job %s: partition %d had lost its %d executions: those that aren't delivered by %s expire",
				id, p, info.counts[p], info.limit().Format(time.RFC3339)))
		}
	}
	if err != nil {
		return err
	}
	if _, err = s.reopen(ctx, id); queue.CodeOf(err) == queue.NotFound {
		for _, c := range calls { // it was removed meanwhile, and whoever does that has been there
			c.sc, c.args = s.sc.wipe, []any{string(id), micros(info.job.CreatedAt)}
		}
		_ = s.runAll(ctx, calls)
	}
	return err
}

// reopen puts a job on the list of open ones, and tells if that is news. Errors: NotFound.
func (s *Store) reopen(ctx context.Context, id queue.JobID) (bool, error) {
	var keys []string
	for _, name := range []string{"all", "open", "live", "done", "outs", "sizes", "totals"} {
		keys = append(keys, s.k.jobs(name))
	}
	v, err := s.run(ctx, s.sc.reopen, keys, string(id))
	if err != nil {
		return false, err
	}
	n, _ := v.(int64)
	if n < 0 {
		return false, noJob(id)
	}
	return n == 1, nil
}

// unclose opens a job again that has planned executions, and that nobody would release.
func (s *Store) unclose(ctx context.Context, info *jobInfo) error {
	id := info.job.ID
	closed := func() (bool, error) {
		err := s.rdb.ZScore(ctx, s.k.jobs("open"), string(id)).Err()
		if isNil(err) {
			return true, nil
		}
		return false, failed("job", err)
	}
	if yes, err := closed(); err != nil || !yes {
		return err
	}
	// It was closed when all was released: only what is planned after that was released once.
	rows, _, err := s.moving(ctx, []queue.JobID{id}, []*jobInfo{info})
	if err != nil {
		return err
	}
	planned := 0
	for _, r := range rows[0] {
		planned += int(r.row(cCounts).int(1))
	}
	if planned == 0 {
		return nil
	}
	if err := s.bound(ctx, info); err != nil {
		return err
	}
	news, err := s.reopen(ctx, id)
	if err == nil && news {
		s.audit.say(fmt.Sprintf("job %s: %d planned executions were to be released by nobody: those that aren't delivered by %s expire",
			id, planned, info.limit().Format(time.RFC3339)))
	}
	return err
}

// bound has no planned execution of a job delivered after its limit. What a failover has taken is left to whoever meets it.
func (s *Store) bound(ctx context.Context, info *jobInfo) error {
	var calls []*call
	for _, p := range info.parts() {
		calls = append(calls, &call{sc: s.sc.restore, keys: []string{s.k.part(p, "d"), s.k.targets(p, info.job.ID)},
			args: []any{string(info.job.ID), "", "", "", info.counts[p], micros(info.limit())}})
	}
	return s.runAll(ctx, calls)
}

// dismiss removes a job whose script is lost, or the copy of its targets with a partition's own. It gives NotFound, unless
// that can't be done, or both are there.
func (s *Store) dismiss(ctx context.Context, id queue.JobID) error {
	there := func() (string, error) {
		v, err := s.rdb.HGet(ctx, s.k.jobs("all"), string(id)).Result()
		if isNil(err) {
			return "", noJob(id)
		}
		return v, failed("job", err)
	}
	// Its script is there before the commit record, and goes after it: without one, and with the same record before and
	// after, it was lost.
	before, err := there()
	if err != nil {
		return err
	}
	v, err := s.rdb.HMGet(ctx, s.k.job(id), "spec", "targets").Result()
	if err != nil {
		return failed("job", err)
	}
	if v[0] != nil && v[1] != nil {
		return nil
	}
	if v[0] != nil { // stored by a version that kept no copy: it does without one while nothing is lost
		info, err := s.info(ctx, id)
		if err != nil {
			return err
		}
		if lost, err := s.lost(ctx, info, info.parts()); err != nil || len(lost) == 0 {
			return err
		}
	}
	after, err := there()
	if err != nil {
		return err
	}
	if before != after {
		return nil
	}
	removed, err := s.remove(ctx, id, "record")
	if err != nil {
		return err
	}
	if removed {
		s.audit.say(fmt.Sprintf("job %s: its script, or its targets, are lost: it was removed", id))
	}
	return noJob(id)
}

// regained sees to executions that a host has in hand and that have no record: where their part of the job was lost, it
// is rebuilt, and they will be delivered again, of which the host then tells what it did. So it isn't to
// forget that.
func (s *Store) regained(ctx context.Context, host queue.HostID, acks []queue.Ack) error {
	for i := range acks {
		a := &acks[i]
		if a.Verdict != queue.VerdictForget || a.Reason != queue.ReasonUnknown {
			continue
		}
		id, of, err := a.Execution.Split()
		if err != nil || of != host {
			continue
		}
		info, err := s.known(ctx, id)
		var lost []int
		if p := partition(host); err == nil && info.counts[p] > 0 {
			if lost, err = s.lost(ctx, info, []int{p}); err == nil {
				err = s.mend(ctx, info, lost)
			}
		}
		switch {
		case queue.CodeOf(err) == queue.NotFound:
		case err != nil:
			return err
		case len(lost) > 0:
			a.Reason = queue.ReasonStaleToken
		}
	}
	return nil
}
