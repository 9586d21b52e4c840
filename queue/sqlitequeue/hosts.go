package sqlitequeue

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Enroll registers a host with its key and raises its incarnation.
func (s *Store) Enroll(ctx context.Context, e queue.Enrollment) (h queue.Host, err error) {
	if err := e.Validate(); err != nil {
		return h, err
	}
	err = s.write(ctx, 2, func(t *tx) error {
		if err := t.enroll(&e); err != nil {
			return err
		}
		h, err = hostByID(t.c, e.Host, t.now)
		return err
	})
	return h, err
}

func (t *tx) enroll(e *queue.Enrollment) error {
	p, err := t.peer(e.Host)
	if err != nil {
		return err
	}
	var key []byte
	var token string
	if p != nil {
		if _, err := one(t.c, func(st *sqlite.Stmt) { key, token = colBytes(st, 0), st.ColumnText(1) },
			`SELECT public_key, token FROM host WHERE n = ?`, p.n); err != nil {
			return err
		}
	}
	same := p != nil && !p.deleted && bytes.Equal(key, e.PublicKey)
	if same && !p.revoked && token == e.Token {
		return nil
	}
	use, err := t.tokenUse(e)
	switch {
	case err != nil:
		return err
	case p != nil && p.revoked && !p.deleted && !e.Replace:
		return queue.Errorf(queue.Forbidden, "host %s: revoked; enrol it with a token that may replace hosts", e.Host)
	case p != nil && !p.deleted && !same && !e.Replace:
		return queue.Errorf(queue.Conflict, "host %s: enrolled already with another key; use another id, or a token that may replace hosts", e.Host)
	}
	if err := t.useToken(e, use); err != nil {
		return err
	}
	if p == nil {
		_, err := t.exec(`INSERT INTO host (id, incarnation, enrolled_at, token, public_key, labels) VALUES (?, 1, ?, ?, ?, ?)`,
			e.Host, t.now, e.Token, []byte(e.PublicKey), labelsJSON(e.Labels))
		return err
	}
	t.forget(p)
	if err := t.void(p); err != nil {
		return err
	}
	if p.epoch != 0 {
		if _, err := t.exec(`UPDATE session SET duplicate_since = NULL, superseded = NULL WHERE host = ?`, p.n); err != nil {
			return err
		}
	}
	_, err = t.exec(`UPDATE host SET incarnation = incarnation + 1, revoked = 0, deleted = 0, enrolled_at = ?, token = ?, public_key = ?, labels = ? WHERE n = ?`,
		t.now, e.Token, []byte(e.PublicKey), labelsJSON(e.Labels), p.n)
	return err
}

// use is what a token's use would be.
type use int

const (
	useFree    use = iota // unbounded, or no token
	useAgain              // this host and key have used it before
	useCounted            // one more
)

// tokenUse checks a token's uses without counting.
func (t *tx) tokenUse(e *queue.Enrollment) (use, error) {
	if e.Token == "" || e.Uses == 0 {
		return useFree, nil
	}
	used, expires := 0, int64(0)
	known, err := one(t.c, func(st *sqlite.Stmt) { used, expires = st.ColumnInt(0), st.ColumnInt64(1) }, `SELECT used, expires FROM enrol_token WHERE token = ?`, e.Token)
	if err != nil {
		return 0, err
	}
	if !known || forgotten(expires, t.now.UnixMilli()) {
		return useCounted, nil
	}
	again, err := t.exists(`SELECT 1 FROM enrol_use WHERE token = ? AND host = ? AND public_key = ?`, e.Token, e.Host, nonNil(e.PublicKey))
	switch {
	case err != nil:
		return 0, err
	case again:
		return useAgain, nil
	case used >= e.Uses:
		return 0, queue.Errorf(queue.Forbidden, "host %s: the enrolment token is used up (%d of %d)", e.Host, used, e.Uses)
	}
	return useCounted, nil
}

// forgotten tells whether a token's uses are to be forgotten; 0 = never.
func forgotten(expires, now int64) bool { return expires != 0 && expires <= now }

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (t *tx) useToken(e *queue.Enrollment, u use) error {
	if u != useCounted {
		return nil
	}
	if gone, err := t.exists(`SELECT 1 FROM enrol_token WHERE token = ? AND expires <> 0 AND expires <= ?`, e.Token, t.now.UnixMilli()); err != nil {
		return err
	} else if gone {
		if err := t.forgetToken(e.Token); err != nil {
			return err
		}
	}
	expires := int64(0)
	if !e.Expires.IsZero() {
		expires = e.Expires.UnixMilli()
	}
	if _, err := t.exec(`INSERT INTO enrol_token VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET used = used + 1`, e.Token, expires); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO enrol_use VALUES (?, ?, ?)`, e.Token, e.Host, nonNil(e.PublicKey))
	return err
}

// forgetTokens removes up to limit tokens that have expired.
func (t *tx) forgetTokens(limit int) error {
	var gone []string
	if err := t.query(func(st *sqlite.Stmt) error {
		gone = append(gone, st.ColumnText(0))
		return nil
	}, `SELECT token FROM enrol_token WHERE expires <> 0 AND expires <= ? LIMIT CAST(? AS INT)`, t.now.UnixMilli(), limit); err != nil {
		return err
	}
	for _, token := range gone {
		if err := t.forgetToken(token); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) forgetToken(token string) error {
	if _, err := t.exec(`DELETE FROM enrol_token WHERE token = ?`, token); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM enrol_use WHERE token = ?`, token)
	return err
}

// void ends what is bound to a host's present incarnation: its session and its
// queue. What is planned ends when it is expanded.
func (t *tx) void(p *peer) error {
	rows, err := t.live(p.n, p.id, maxLive)
	if err != nil {
		return err
	}
	for _, r := range rows {
		r.Void(t.now)
		if err := t.save(r); err != nil {
			return err
		}
	}
	t.hint(p.gateway, p.id)
	return t.endSession(p)
}

// Revoke bars a host.
func (s *Store) Revoke(ctx context.Context, id queue.HostID) error {
	return s.bar(ctx, id, func(t *tx, p *peer) error {
		switch {
		case p.deleted:
			return hostNotFound(id)
		case p.revoked:
			return nil
		}
		if err := t.void(p); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE host SET revoked = 1 WHERE n = ?`, p.n)
		return err
	})
}

// DeleteHost bars a host and removes its record. Deleting again changes nothing.
func (s *Store) DeleteHost(ctx context.Context, id queue.HostID) error {
	return s.bar(ctx, id, func(t *tx, p *peer) error {
		if p.deleted {
			return nil
		}
		if err := t.void(p); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM host_facts WHERE host = ?`, p.n); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE host SET deleted = 1, revoked = 0, public_key = NULL, token = '', labels = '{}' WHERE n = ?`, p.n)
		return err
	})
}

func (s *Store) bar(ctx context.Context, id queue.HostID, do func(t *tx, p *peer) error) error {
	return s.write(ctx, 2, func(t *tx) error {
		p, err := t.peer(id)
		if err != nil {
			return err
		}
		if p == nil {
			return hostNotFound(id)
		}
		t.forget(p)
		return do(t, p)
	})
}

// Select resolves a selector or a list of ids to targets.
func (s *Store) Select(ctx context.Context, sel queue.Selector, ids []queue.HostID) (targets []queue.Target, err error) {
	if ids != nil {
		return s.selectIDs(ctx, ids)
	}
	// Read in the order of the rows and then sorted: half the time of reading in
	// the order of ids.
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return query(c, func(st *sqlite.Stmt) error {
			if !sel.Empty() {
				labels, err := fromJSON[map[string]string](st.ColumnText(2))
				if err != nil || !sel.Matches(labels) {
					return err
				}
			}
			targets = append(targets, queue.Target{Host: queue.HostID(st.ColumnText(0)), Incarnation: st.ColumnInt64(1)})
			return nil
		}, `SELECT id, incarnation, labels FROM host WHERE revoked = 0 AND deleted = 0`)
	})
	slices.SortFunc(targets, func(a, b queue.Target) int { return cmp.Compare(a.Host, b.Host) })
	return targets, err
}

func (s *Store) selectIDs(ctx context.Context, ids []queue.HostID) (targets []queue.Target, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var bad []string
	total := 0
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		for _, id := range ids {
			ok, err := one(c, func(st *sqlite.Stmt) {
				targets = append(targets, queue.Target{Host: id, Incarnation: st.ColumnInt64(0)})
			}, `SELECT incarnation FROM host WHERE id = ? AND revoked = 0 AND deleted = 0`, id)
			if err != nil {
				return err
			}
			if !ok {
				if total++; len(bad) < maxNamed {
					bad = append(bad, string(id))
				}
			}
		}
		return nil
	})
	if err == nil && total > 0 {
		err = missing(bad, total, "hosts: not enrolled, or revoked")
	}
	if err != nil {
		return nil, err
	}
	return targets, nil
}
