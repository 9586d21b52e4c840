package sqlitequeue

import (
	"context"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// peer is a host and its session, as verbs of sessions need them.
type peer struct {
	n           int64
	id          queue.HostID
	incarnation int64
	revoked     bool
	deleted     bool

	epoch     int64 // 0 = never had a session
	gateway   string
	transport queue.Transport
	due       opt // a poll's, and the same in service time
	dueServed opt
	msgs      int64 // number of the last message
	given     int64
	slots     map[queue.Lane]int // as declared; not to be changed
	duplicate bool
}

// owner tells whether the session is the one that owns the host.
func (p *peer) owner(session int64) bool {
	return session != 0 && p.epoch == session && p.gateway != "" && !p.revoked && !p.deleted
}

// peer finds a host; nil if it never was enrolled. A deleted one is found. The
// peer is cached: whoever changes its row changes it likewise, or forgets it.
func (t *tx) peer(id queue.HostID) (p *peer, err error) {
	if p := t.cache.peers[id]; p != nil {
		return p, nil
	}
	err = t.query(func(st *sqlite.Stmt) (err error) {
		p = &peer{
			n: st.ColumnInt64(0), id: queue.HostID(st.ColumnText(12)), incarnation: st.ColumnInt64(1), revoked: st.ColumnBool(2), deleted: st.ColumnBool(3),
			epoch: st.ColumnInt64(4), gateway: st.ColumnText(5), transport: queue.Transport(st.ColumnText(6)), due: colOpt(st, 7),
			msgs: st.ColumnInt64(8), given: st.ColumnInt64(9), duplicate: !st.ColumnIsNull(11), dueServed: colOpt(st, 13),
		}
		p.slots, err = slotsOf(st.ColumnText(10))
		return err
	}, `SELECT h.n, h.incarnation, h.revoked, h.deleted, s.epoch, s.gateway, s.transport, s.due_at, s.n, s.given, s.slots, s.duplicate_since, h.id, s.due_service
		FROM host h LEFT JOIN session s ON s.host = h.n WHERE h.id = ?`, id)
	if err != nil || p == nil {
		return nil, err
	}
	if t.cache.peers == nil || len(t.cache.peers) >= maxCachedPeers {
		t.cache.peers = map[queue.HostID]*peer{}
	}
	t.cache.peers[p.id] = p
	return p, nil
}

// forget drops a host from the cache because its row changes.
func (t *tx) forget(p *peer) { delete(t.cache.peers, p.id) }

// slotsOf reads the number of slots that a host declared.
func slotsOf(text string) (map[queue.Lane]int, error) {
	return fromJSON[map[queue.Lane]int](text)
}

func hostNotFound(id queue.HostID) error {
	return queue.Errorf(queue.NotFound, "host %.140q: not enrolled", string(id))
}

const hostColumns = `h.id, h.incarnation, h.labels, f.facts, h.public_key, h.enrolled_at, h.revoked,
	s.epoch, s.gateway, s.transport, s.since, s.due_at, s.agent_version, s.boot_id, s.generation, s.slots, s.duplicate_since, g.alive_until`

const hostTables = ` FROM host h LEFT JOIN host_facts f ON f.host = h.n LEFT JOIN session s ON s.host = h.n LEFT JOIN gateway g ON g.name = s.gateway `

// readHost reads hostColumns at the store's time now.
func readHost(st *sqlite.Stmt, now time.Time) (h queue.Host, err error) {
	h = queue.Host{
		ID: queue.HostID(st.ColumnText(0)), Incarnation: st.ColumnInt64(1),
		EnrolledAt: colTime(st, 5), Revoked: st.ColumnBool(6),
	}
	if h.Labels, err = fromJSON[map[string]string](st.ColumnText(2)); err != nil {
		return h, err
	}
	if h.Facts, err = fromJSON[map[string]string](st.ColumnText(3)); err != nil {
		return h, err
	}
	if n := st.ColumnLen(4); n > 0 {
		h.PublicKey = colBytes(st, 4)
	}
	if st.ColumnIsNull(7) {
		return h, nil
	}
	p := queue.Presence{
		Session: st.ColumnInt64(7), Gateway: st.ColumnText(8), Transport: queue.Transport(st.ColumnText(9)), Since: colTime(st, 10), Due: colTime(st, 11),
		AgentVersion: st.ColumnText(12), BootID: st.ColumnText(13), Generation: st.ColumnText(14), DuplicateSince: colTime(st, 16),
	}
	if p.Slots, err = slotsOf(st.ColumnText(15)); err != nil {
		return h, err
	}
	if p.Gateway != "" {
		end := p.Due // when it is, or was, no longer online
		if p.Transport == queue.TransportSocket {
			end = colTime(st, 17)
		}
		p.Online = now.Before(end)
		if !p.Online && end.After(p.Since) {
			p.Since = end
		}
	}
	h.Presence = p
	return h, nil
}

// Host gives a host with its presence.
func (s *Store) Host(ctx context.Context, id queue.HostID) (h queue.Host, err error) {
	now := s.now()
	err = s.read(ctx, func(c *sqlite.Conn) error {
		h, err = hostByID(c, id, now)
		return err
	})
	return h, err
}

func hostByID(c *sqlite.Conn, id queue.HostID, now time.Time) (h queue.Host, err error) {
	found := false
	err = query(c, func(st *sqlite.Stmt) (err error) {
		found = true
		h, err = readHost(st, now)
		return err
	}, `SELECT `+hostColumns+hostTables+`WHERE h.id = ? AND h.deleted = 0`, id)
	if err == nil && !found {
		err = hostNotFound(id)
	}
	return h, err
}

// ListHosts lists hosts by id.
func (s *Store) ListHosts(ctx context.Context, q queue.HostQuery) (hosts []queue.Host, next string, err error) {
	if err := queue.ValidateLimit(q.Limit); err != nil {
		return nil, "", err
	}
	now := s.now()
	page := q.Limit + 1
	if q.Online != nil || !q.Selector.Empty() {
		page = queue.MaxPage + 1
	}
	err = s.read(ctx, func(c *sqlite.Conn) error {
		after := q.After
		for {
			seen := 0
			full := false
			err := query(c, func(st *sqlite.Stmt) error {
				if seen++; full {
					return nil
				}
				h, err := readHost(st, now)
				if err != nil {
					return err
				}
				if (q.Online != nil && *q.Online != h.Presence.Online) || !q.Selector.Matches(h.Labels) {
					after = string(h.ID)
					return nil
				}
				if len(hosts) == q.Limit { // there is another
					full, next = true, after
					return nil
				}
				after = string(h.ID)
				hosts = append(hosts, h)
				return nil
			}, `SELECT `+hostColumns+hostTables+`WHERE h.id > ? AND h.deleted = 0 ORDER BY h.id LIMIT CAST(? AS INT)`, after, page)
			if err != nil || full || seen < page {
				return err
			}
		}
	})
	if err != nil {
		return nil, "", err
	}
	return hosts, next, nil
}

// Label changes labels.
func (s *Store) Label(ctx context.Context, id queue.HostID, p queue.LabelPatch) (h queue.Host, err error) {
	if err := queue.ValidateLabels(p.Set); err != nil {
		return h, err
	}
	err = s.write(ctx, 1, func(t *tx) error {
		var labels map[string]string
		found := false
		err := t.query(func(st *sqlite.Stmt) (err error) {
			found = true
			labels, err = fromJSON[map[string]string](st.ColumnText(0))
			return err
		}, `SELECT labels FROM host WHERE id = ? AND deleted = 0`, id)
		if err != nil {
			return err
		}
		if !found {
			return hostNotFound(id)
		}
		if labels == nil {
			labels = map[string]string{}
		}
		for _, k := range p.Remove {
			delete(labels, k)
		}
		for k, v := range p.Set {
			labels[k] = v
		}
		if err := queue.ValidateLabels(labels); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE host SET labels = ? WHERE id = ?`, labelsJSON(labels), id); err != nil {
			return err
		}
		h, err = hostByID(t.c, id, t.now)
		return err
	})
	return h, err
}

func labelsJSON(labels map[string]string) string {
	if text := toJSON(labels); text != "" {
		return string(text)
	}
	return "{}"
}

// missing is the error that names up to 20 of what isn't there.
func missing(items []string, total int, format string, args ...any) error {
	return &queue.Error{Code: queue.NotFound, Message: fmt.Sprintf(format, args...) + fmt.Sprintf(" (%d): %s", total, joinSome(items, total)), Items: items}
}
