package redisqueue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/rexgate/rexgate/queue"
)

// hostCache keeps what selecting needs of every host, by partition, as of the
// version that the partition had.
type hostCache struct {
	mu    sync.Mutex // guards parts
	parts [Partitions]hostPart
}

type hostPart struct {
	version string
	hosts   []hostEntry // by id; never changed in place
}

type hostEntry struct {
	id          queue.HostID
	incarnation int64
	revoked     bool
	labels      map[string]string
}

// entries gives every partition's hosts as they are now: it reads the versions
// of all, and the hosts of those that have changed.
func (s *Store) entries(ctx context.Context) ([][]hostEntry, error) {
	versions := make([]*redis.StringCmd, Partitions)
	err := s.pipeline(ctx, "hosts", func(p redis.Pipeliner) {
		for part := range versions {
			versions[part] = p.HGet(ctx, s.k.part(part, "ver"), "ver")
		}
	})
	if err != nil {
		return nil, err
	}
	all := make([][]hostEntry, Partitions)
	var stale []int
	s.hosts.mu.Lock()
	for p := range all {
		if part := &s.hosts.parts[p]; part.version == versions[p].Val() {
			all[p] = part.hosts
		} else {
			stale = append(stale, p)
		}
	}
	s.hosts.mu.Unlock()
	for group := range slices.Chunk(stale, 16) {
		records := make([]*redis.MapStringStringCmd, len(group))
		err := s.pipeline(ctx, "hosts", func(p redis.Pipeliner) {
			for i, part := range group {
				records[i] = p.HGetAll(ctx, s.k.part(part, "hosts"))
			}
		})
		if err != nil {
			return nil, err
		}
		for i, p := range group {
			if all[p], err = decodeEntries(records[i].Val()); err != nil {
				return nil, failed("hosts", err)
			}
			s.hosts.mu.Lock()
			s.hosts.parts[p] = hostPart{versions[p].Val(), all[p]}
			s.hosts.mu.Unlock()
		}
	}
	return all, nil
}

func decodeEntries(records map[string]string) ([]hostEntry, error) {
	hosts := make([]hostEntry, 0, len(records))
	for id, text := range records {
		r, err := unpackRow(text)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, hostEntry{queue.HostID(id), r.int(hIncarnation), r.int(hRevoked) == 1, r.strMap(hLabels)})
	}
	slices.SortFunc(hosts, func(a, b hostEntry) int { return strings.Compare(string(a.id), string(b.id)) })
	return hosts, nil
}

// Select resolves a selector, from the cache, or a list of ids to targets.
func (s *Store) Select(ctx context.Context, sel queue.Selector, ids []queue.HostID) ([]queue.Target, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var targets []queue.Target
	if ids != nil {
		var err error
		if targets, err = s.selectIDs(ctx, ids); err != nil {
			return nil, err
		}
	} else {
		all, err := s.entries(ctx)
		if err != nil {
			return nil, err
		}
		for _, part := range all {
			for _, h := range part {
				if !h.revoked && sel.Matches(h.labels) {
					targets = append(targets, queue.Target{Host: h.id, Incarnation: h.incarnation})
				}
			}
		}
	}
	slices.SortFunc(targets, func(a, b queue.Target) int { return strings.Compare(string(a.Host), string(b.Host)) })
	return targets, nil
}

func (s *Store) selectIDs(ctx context.Context, ids []queue.HostID) ([]queue.Target, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	fields := make([][]string, Partitions)
	for _, id := range ids {
		p := partition(id)
		fields[p] = append(fields[p], string(id))
	}
	cmds := make([]*redis.SliceCmd, Partitions)
	err := s.pipeline(ctx, "select", func(p redis.Pipeliner) {
		for part, f := range fields {
			if f != nil {
				cmds[part] = p.HMGet(ctx, s.k.part(part, "hosts"), f...)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var targets []queue.Target
	var bad []string
	for part, cmd := range cmds {
		if cmd == nil {
			continue
		}
		for i, v := range cmd.Val() {
			text, _ := v.(string)
			r, err := unpackRow(text)
			if text == "" || err != nil || r.int(hRevoked) == 1 {
				bad = append(bad, fields[part][i])
				continue
			}
			targets = append(targets, queue.Target{Host: queue.HostID(fields[part][i]), Incarnation: r.int(hIncarnation)})
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return nil, &queue.Error{Code: queue.NotFound, Items: bad[:min(len(bad), 20)],
			Message: fmt.Sprintf("%d hosts are unknown or revoked: %s", len(bad), strings.Join(bad[:min(len(bad), 3)], ", "))}
	}
	return targets, nil
}

// ListHosts lists hosts by id. What selects is cached; presence is read for the
// hosts of the page.
func (s *Store) ListHosts(ctx context.Context, q queue.HostQuery) (hosts []queue.Host, next string, err error) {
	if err := s.enter(); err != nil {
		return nil, "", err
	}
	defer s.leave()
	if err := queue.ValidateLimit(q.Limit); err != nil {
		return nil, "", err
	}
	all, err := s.entries(ctx)
	if err != nil {
		return nil, "", err
	}
	step := q.Limit + 1
	if q.Online != nil {
		step = max(step, 200)
	}
	for after := q.After; ; {
		ids := following(all, q.Selector, after, step)
		page, err := s.readHosts(ctx, ids)
		if err != nil {
			return nil, "", err
		}
		for _, h := range page {
			if h == nil || q.Online != nil && h.Presence.Online != *q.Online {
				continue // nil: deleted just now
			}
			if len(hosts) == q.Limit {
				return hosts, string(hosts[q.Limit-1].ID), nil
			}
			hosts = append(hosts, *h)
		}
		if len(ids) < step {
			return hosts, "", nil
		}
		after = string(ids[len(ids)-1])
	}
}

// following gives the next n ids after one that the selector matches.
func following(all [][]hostEntry, sel queue.Selector, after string, n int) []queue.HostID {
	var ids []queue.HostID
	for _, part := range all {
		i, found := slices.BinarySearchFunc(part, after, func(h hostEntry, id string) int { return strings.Compare(string(h.id), id) })
		if found {
			i++
		}
		for k := 0; i < len(part) && k < n; i++ {
			if sel.Matches(part[i].labels) {
				ids = append(ids, part[i].id)
				k++
			}
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), n)]
}
