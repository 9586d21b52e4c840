package redisqueue

import (
	"context"
	"fmt"

	"github.com/rexgate/rexgate/queue"
)

// situationStep is how many hosts one function reads. Where something is past its time and not swept yet, a host with a long queue
// takes 2.4 ms, for the records of the first thousand.
const situationStep = 4

// Situations tells what bears on when executions of a job go on: each host in one call of a function, those of a
// partition together.
func (s *Store) Situations(ctx context.Context, id queue.JobID, hosts []queue.HostID) ([]queue.Situation, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(hosts) == 0 || len(hosts) > queue.MaxPage {
		return nil, queue.Errorf(queue.Invalid, "situations: %d hosts, 1 to %d are possible", len(hosts), queue.MaxPage)
	}
	info, err := s.known(ctx, id)
	if err != nil {
		return nil, err
	}
	planned, err := s.plannedOn(ctx, info, hosts)
	if err != nil {
		return nil, err
	}
	var parts [Partitions][]int
	for i, h := range hosts {
		p := partition(h)
		parts[p] = append(parts[p], i)
	}
	var calls []*call
	var places [][]int
	for p, list := range parts {
		for len(list) > 0 {
			n := min(len(list), situationStep)
			c := &call{sc: s.sc.situations, args: []any{s.offset(), string(id)}}
			for _, name := range []string{"d", "own", "hosts", "facts", "ses", "gw", "expiry"} {
				c.keys = append(c.keys, s.k.part(p, name))
			}
			for _, i := range list[:n] {
				c.keys, c.args = append(c.keys, s.k.queue(p, hosts[i])), append(c.args, string(hosts[i]))
			}
			calls, places = append(calls, c), append(places, list[:n])
			list = list[n:]
		}
	}
	if err := s.runAll(ctx, calls); err != nil {
		return nil, err
	}
	situations := make([]queue.Situation, len(hosts))
	for n, c := range calls {
		r := row(c.val.([]any))
		if len(r) < 2+len(places[n]) {
			return nil, noJob(id) // it is being removed
		}
		now, gateways := r.int(1), pairs(r.row(2))
		for k, i := range places[n] {
			if situations[i], err = info.situation(planned[hosts[i]], r.row(3+k), now, gateways); err != nil {
				return nil, failed("situation", err)
			}
		}
	}
	return situations, nil
}

// plannedOn gives a job's executions on some hosts as they are at first. Errors: NotFound, with the hosts that are no
// targets.
func (s *Store) plannedOn(ctx context.Context, info *jobInfo, hosts []queue.HostID) (map[queue.HostID]queue.Execution, error) {
	found := make(map[queue.HostID]queue.Execution, len(hosts))
	wanted := make(map[queue.HostID]bool, len(hosts))
	var parts [Partitions]bool
	for _, h := range hosts {
		wanted[h], parts[partition(h)] = true, true
	}
	for p, any := range parts {
		if !any {
			continue
		}
		targets, err := s.partTargets(ctx, info, p)
		if err != nil {
			return nil, err
		}
		for index, t := range targets {
			if wanted[t.Host] {
				found[t.Host] = info.planned(p, index, t)
			}
		}
	}
	var unknown []string
	for _, h := range hosts {
		if _, ok := found[h]; !ok && len(unknown) < 20 {
			unknown = append(unknown, string(h))
		}
	}
	if unknown != nil {
		return nil, &queue.Error{Code: queue.NotFound, Message: fmt.Sprintf("job %s has no target %s", info.job.ID, unknown[0]), Items: unknown}
	}
	return found, nil
}

// situation reads one of situations.lua's answers.
func (i *jobInfo) situation(x queue.Execution, r row, now int64, gateways map[string]int64) (t queue.Situation, err error) {
	t = queue.Situation{Execution: x, Host: queue.Host{ID: x.Host}, Flying: int(r.int(6)), Ahead: int(r.int(8)),
		Held: blockerOf(r.row(7)), First: blockerOf(r.row(9))}
	if text := r.str(1); text != "" {
		record, err := unpackFields(text)
		if err != nil {
			return t, err
		}
		t.Execution = i.execution(partition(x.Host), x.Host, record)
	}
	if own, record := r.str(2), r.str(3); own != "" && record != "" {
		h, err := decodeHost(x.Host, own, record, r.str(4), r.str(5), now, gateways)
		if err != nil {
			return t, err
		}
		t.Host = *h
	}
	return t, nil
}

func blockerOf(r row) queue.Blocker {
	return queue.Blocker{Job: queue.JobID(r.str(1)), State: stateOf(r.str(2)), Since: moment(r.int(3))}
}
