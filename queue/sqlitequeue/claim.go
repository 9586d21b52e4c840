package sqlitequeue

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// maxSuperseded bounds the processes of a host that are remembered as replaced.
const maxSuperseded = 16

// maxLive bounds how many executions of a host a verb reads at once. What is
// in flight is bounded by lanes and slots, far below it.
const maxLive = 1 << 20

// Claim makes a new session the owner of a host.
func (s *Store) Claim(ctx context.Context, c queue.Claim) (claimed queue.Claimed, err error) {
	if err := c.Validate(); err != nil {
		return claimed, err
	}
	if c.Gateway == "" {
		return claimed, queue.Errorf(queue.Invalid, "claim of host %s: no gateway", c.Host)
	}
	var refused error // stored: the host is marked
	err = s.write(ctx, 4, func(t *tx) error {
		claimed, refused = queue.Claimed{}, nil
		p, err := t.peer(c.Host)
		switch {
		case err != nil:
			return err
		case p == nil || p.deleted:
			return hostNotFound(c.Host)
		case p.revoked:
			return revokedError(c.Host)
		case p.incarnation != c.Incarnation:
			return supersededError(c.Host, p.incarnation, c.Incarnation)
		case p.duplicate:
			return duplicateError(c.Host)
		}
		prior, err := t.process(p)
		if err != nil {
			return err
		}
		if prior.superseding(&c, t.now) {
			return queue.Errorf(queue.Superseded, "host %s: another process of it has come since", c.Host)
		}
		if prior.contradicts(&c) {
			refused = duplicateError(c.Host)
			t.hint(p.gateway, c.Host)
			p.duplicate = true
			_, err := t.exec(`UPDATE session SET duplicate_since = ? WHERE host = ?`, t.now, p.n)
			return err
		}
		claimed = queue.Claimed{Session: p.epoch + 1, N: p.msgs, Now: t.now, Replaced: p.gateway}
		if err := t.hello(&c, p, &claimed); err != nil {
			return err
		}
		t.hint(p.gateway, c.Host)
		return t.own(&c, p, prior)
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return queue.Claimed{}, err
	}
	return claimed, nil
}

func supersededError(host queue.HostID, is, not int64) error {
	return queue.Errorf(queue.Superseded, "host %s: enrolled anew since (incarnation %d, not %d)", host, is, not)
}

func revokedError(host queue.HostID) error {
	return queue.Errorf(queue.Forbidden, "host %s: revoked", host)
}

func duplicateError(host queue.HostID) error {
	return queue.Errorf(queue.Duplicate, "host %s: two machines claim this identity; stop one of them, then resolve the duplicate", host)
}

// process is what the store knows of the agent's process behind a session.
type process struct {
	generation string
	nonce      string
	superseded []ended // of the same generation
	online     bool
}

// ended is a process that another one has taken the place of.
type ended struct {
	Nonce string `json:"nonce"`
	At    int64  `json:"at"` // milliseconds since 1970
}

func (t *tx) process(p *peer) (pr process, err error) {
	if p.epoch == 0 {
		return pr, nil
	}
	var list string
	_, err = one(t.c, func(st *sqlite.Stmt) {
		pr.generation, pr.nonce, list = st.ColumnText(0), st.ColumnText(1), st.ColumnText(2)
		end := p.due.v
		if p.transport == queue.TransportSocket {
			end = st.ColumnInt64(3)
		}
		pr.online = p.gateway != "" && t.now.UnixMilli() < end
	}, `SELECT s.generation, s.nonce, s.superseded, g.alive_until FROM session s LEFT JOIN gateway g ON g.name = s.gateway WHERE s.host = ?`, p.n)
	if err == nil && list != "" {
		err = json.Unmarshal([]byte(list), &pr.superseded)
	}
	return pr, err
}

// contradicts tells whether a hello comes from another machine than the owner.
func (pr *process) contradicts(c *queue.Claim) bool {
	if pr.generation != c.Generation {
		return pr.online
	}
	return pr.ended(c) >= 0
}

// ended gives the index of a hello's process among those that were superseded; -1 = it wasn't.
func (pr *process) ended(c *queue.Claim) int {
	if pr.generation != c.Generation || c.Nonce == "" || c.Nonce == pr.nonce {
		return -1
	}
	return slices.IndexFunc(pr.superseded, func(e ended) bool { return e.Nonce == c.Nonce })
}

// superseding tells whether a hello may just have been late: another process has come since, and not long ago.
func (pr *process) superseding(c *queue.Claim, now time.Time) bool {
	i := pr.ended(c)
	return i >= 0 && now.Sub(time.UnixMilli(pr.superseded[i].At)) < queue.HelloTransit
}

// hello judges all that is in flight, and all that the host says to have.
func (t *tx) hello(c *queue.Claim, p *peer, claimed *queue.Claimed) error {
	rows, err := t.flying(p)
	if err != nil {
		return err
	}
	judge := func(r *row, in *queue.InHand) error {
		before := r.Held
		ack, tell := r.Hello(c, in, t.now)
		if tell {
			claimed.Verdicts = append(claimed.Verdicts, ack)
		}
		if r.State == queue.Lost && before.State != queue.Lost {
			claimed.Lost++
		}
		if r.State == queue.Leased { // carried over
			if r.lapse, err = t.service(queue.DefaultLeaseTTL); err != nil {
				return err
			}
			return t.save(r)
		}
		if r.State == before.State {
			return nil
		}
		return t.save(r)
	}
	told := make(map[queue.ExecutionID]bool, len(c.InHand))
	for i := range c.InHand {
		in := &c.InHand[i]
		if told[in.Execution] {
			continue
		}
		told[in.Execution] = true
		r, err := t.named(rows, p, in.Execution)
		if err != nil {
			return err
		}
		if r == nil {
			claimed.Verdicts = append(claimed.Verdicts, queue.Ack{Execution: in.Execution, Verdict: queue.VerdictForget, Reason: queue.ReasonUnknown})
			continue
		}
		if err := judge(r, in); err != nil {
			return err
		}
	}
	for _, r := range rows {
		if told[r.ID()] {
			continue
		}
		if err := judge(r, nil); err != nil {
			return err
		}
	}
	return nil
}

// named finds a host's execution by its id, among rows if it is there; nil if
// the host has no such execution.
func (t *tx) named(rows []*row, p *peer, id queue.ExecutionID) (*row, error) {
	jobID, host, err := id.Split()
	if err != nil || host != p.id {
		return nil, nil
	}
	for _, r := range rows {
		if r.Job == jobID {
			return r, nil
		}
	}
	j, err := t.job(jobID)
	if err != nil || j == nil {
		return nil, err
	}
	return t.load(j, p.n, host)
}

// flying reads what a host has in flight.
func (t *tx) flying(p *peer) ([]*row, error) {
	lanes, err := t.lanes(p.n)
	if err != nil {
		return nil, err
	}
	var all []*row
	for _, l := range lanes {
		rows, err := t.lane(p, l, turnFlying, turnFlying, maxLive)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// lanes lists the lanes in which a host has something queued or in flight, as
// Lease serves them.
func (t *tx) lanes(hostN int64) (lanes []queue.Lane, err error) {
	last := ""
	for {
		ok, err := one(t.c, func(st *sqlite.Stmt) { last = st.ColumnText(0) },
			`SELECT lane FROM execution INDEXED BY execution_live WHERE host = CAST(? AS INT) AND lane > CAST(? AS TEXT) AND turn IS NOT NULL ORDER BY lane LIMIT 1`, hostN, last)
		if err != nil {
			return nil, err
		}
		if !ok {
			slices.SortFunc(lanes, queue.CompareLanes)
			return lanes, nil
		}
		lanes = append(lanes, queue.Lane(last))
	}
}

// lane reads executions of one lane of a host, from one turn to another.
func (t *tx) lane(p *peer, l queue.Lane, from, to int64, limit int) ([]*row, error) {
	return t.rows(p.id, `SELECT `+rowColumns+` FROM execution x INDEXED BY execution_live WHERE x.host = CAST(? AS INT) AND x.lane = CAST(? AS TEXT)
		AND x.turn BETWEEN CAST(? AS INT) AND CAST(? AS INT) ORDER BY x.turn, x.id LIMIT CAST(? AS INT)`, p.n, l, from, to, limit)
}

// own writes the new session.
func (t *tx) own(c *queue.Claim, p *peer, prior process) error {
	superseded := optText("")
	if prior.generation == c.Generation {
		list := prior.superseded
		if prior.nonce != c.Nonce && prior.nonce != "" {
			list = append(list, ended{prior.nonce, t.now.UnixMilli()})
		}
		list = list[max(0, len(list)-maxSuperseded):]
		if len(list) > 0 {
			b, err := json.Marshal(list)
			if err != nil {
				return err
			}
			superseded = optText(b)
		}
	}
	var due, dueService opt
	if c.Transport == queue.TransportPoll {
		var err error
		if due, dueService, err = t.dueIn(c.Due); err != nil {
			return err
		}
	}
	t.forget(p)
	if _, err := t.exec(`INSERT OR REPLACE INTO session (host, epoch, gateway, transport, since, due_at, n, given, slots,
		agent_version, boot_id, generation, nonce, superseded, due_service) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.n, p.epoch+1, c.Gateway, string(c.Transport), t.now, due, p.msgs, p.msgs, toJSON(c.Slots),
		c.AgentVersion, c.BootID, c.Generation, c.Nonce, superseded, dueService); err != nil {
		return err
	}
	facts := string(toJSON(c.Facts))
	var had string
	if _, err := one(t.c, func(st *sqlite.Stmt) { had = st.ColumnText(0) }, `SELECT facts FROM host_facts WHERE host = ?`, p.n); err != nil {
		return err
	}
	switch {
	case facts == had:
		return nil
	case facts == "":
		_, err := t.exec(`DELETE FROM host_facts WHERE host = ?`, p.n)
		return err
	}
	_, err := t.exec(`INSERT OR REPLACE INTO host_facts VALUES (?, ?)`, p.n, facts)
	return err
}

// Release ends a session.
func (s *Store) Release(ctx context.Context, host queue.HostID, session int64) error {
	return s.write(ctx, 2, func(t *tx) error {
		p, err := t.peer(host)
		if err != nil || p == nil || !p.owner(session) {
			return err
		}
		return t.leave(p)
	})
}

// leave ends a host's session: its unaccepted leases go back to the queue.
func (t *tx) leave(p *peer) error {
	rows, err := t.flying(p)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.EndLease(t.now); r.State != r.was {
			if err := t.save(r); err != nil {
				return err
			}
		}
	}
	return t.endSession(p)
}

// endSession takes a host from its session, if it has one.
func (t *tx) endSession(p *peer) error {
	if p.gateway == "" {
		return nil
	}
	t.forget(p)
	_, err := t.exec(`UPDATE session SET gateway = '', since = ?, due_at = NULL, due_service = NULL WHERE host = ?`, t.now, p.n)
	return err
}

// ResolveDuplicate clears the duplicate mark and ends the session, so that any
// claim may come next.
func (s *Store) ResolveDuplicate(ctx context.Context, id queue.HostID) error {
	return s.write(ctx, 1, func(t *tx) error {
		p, err := t.peer(id)
		switch {
		case err != nil:
			return err
		case p == nil || p.deleted:
			return hostNotFound(id)
		case !p.duplicate:
			return nil
		}
		t.hint(p.gateway, id)
		t.forget(p)
		if _, err := t.exec(`UPDATE session SET duplicate_since = NULL, superseded = NULL WHERE host = ?`, p.n); err != nil {
			return err
		}
		return t.leave(p)
	})
}
