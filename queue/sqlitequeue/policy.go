package sqlitequeue

import (
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// online tells, of a host h with its session s and the session's gateway g, whether it is
// online at the service time ?1, so that an outage makes no host offline. An ended session has no gateway
// and no due_service.
const online = `coalesce(CASE s.transport WHEN 'socket' THEN g.alive_service > ?1 ELSE s.due_service > ?1 END, 0)`

// offline tells whether a host is offline in service time.
func (t *tx) offline(hostN int64) (bool, error) {
	service, err := t.service(0)
	if err != nil {
		return false, err
	}
	is, err := t.exists(`SELECT 1 FROM session s LEFT JOIN gateway g ON g.name = s.gateway WHERE s.host = ?2 AND `+online, service, hostN)
	return !is, err
}

// eachHost tells whether a job's release depends on more of its hosts than that they are there.
func (j *jobInfo) eachHost() bool { return j.key != 0 || j.spec.Offline == queue.OfflineSkip }

// planned is a target that is to be released.
type planned struct {
	row
	valid  bool // the host is what it was
	online bool
	newest queue.Job // of the job's key on the host; no id if none is known
	other  int64     // its number
}

// releaseEach is release for jobs that look at each of their hosts.
func (t *tx) releaseEach(j *jobInfo, from, to int64) (released int, err error) {
	service, err := t.service(0)
	if err != nil {
		return 0, err
	}
	var targets []*planned
	err = t.query(func(st *sqlite.Stmt) error {
		p := &planned{
			row: row{id: st.ColumnInt64(0), host: st.ColumnInt64(1), was: queue.Planned}, valid: st.ColumnBool(3), online: st.ColumnBool(4),
			newest: queue.Job{ID: queue.JobID(st.ColumnText(6)), CreatedAt: colTime(st, 7)}, other: st.ColumnInt64(5),
		}
		p.State = queue.Planned
		p.identify(j, queue.HostID(st.ColumnText(2)))
		targets = append(targets, p)
		return nil
	}, `SELECT x.id, x.host, h.id, h.incarnation = x.incarnation AND h.revoked = 0 AND h.deleted = 0, `+online+`, n.job, o.id, o.created_at
		FROM execution x JOIN host h ON h.n = x.host LEFT JOIN session s ON s.host = x.host LEFT JOIN gateway g ON g.name = s.gateway
		LEFT JOIN newest n ON n.supersede_key = ?2 AND n.host = x.host LEFT JOIN job o ON o.n = n.job
		WHERE x.id BETWEEN ?3 AND ?4 AND x.state = 'p' ORDER BY x.id`, service, j.key, from, to)
	if err != nil {
		return 0, err
	}
	for _, p := range targets {
		if err := t.releaseOne(j, p); err != nil {
			return 0, err
		}
		if p.State == queue.Queued {
			released++
		}
	}
	return released, nil
}

func (t *tx) releaseOne(j *jobInfo, p *planned) error {
	switch {
	case !p.valid:
		p.Void(t.now)
	case p.newest.ID != "" && p.newest.Newer(queue.Job{ID: j.id, CreatedAt: j.createdAt}):
		p.Withdraw(queue.WhySuperseded(p.newest.ID), t.now)
	default:
		if j.key != 0 {
			if err := t.supersede(j, p); err != nil {
				return err
			}
		}
		p.Release(j.spec, t.now)
		p.NotBefore = j.spec.NotBefore
		if j.spec.Offline == queue.OfflineSkip && !p.online && !p.NotBefore.After(t.now) {
			p.Withdraw(queue.WhyOffline, t.now)
		}
	}
	turn, wake, _ := p.places(t.now)
	exit := opt{}
	if p.State.Terminal() {
		exit = some(int64(p.Result.ExitCode))
	}
	_, err := t.exec(`UPDATE execution SET state = ?, deliveries = 0, released_at = ?, deliver_until = ?, turn = ?, wake_at = ?,
		finished_at = ?, exit_code = ?, reason = ?, result_at = ? WHERE id = ?`,
		p.State, p.ReleasedAt, p.DeliverUntil, turn, wake, p.FinishedAt, exit, optText(p.Result.Reason), p.Result.At, p.id)
	if err == nil {
		t.changedState(&p.row)
	}
	return err
}

// supersede makes a job the newest of its key on a host, and withdraws the one before.
func (t *tx) supersede(j *jobInfo, p *planned) error {
	if _, err := t.exec(`INSERT OR REPLACE INTO newest VALUES (?, ?, ?)`, j.key, p.host, j.n); err != nil {
		return err
	}
	if p.newest.ID == "" || p.other == j.n {
		return nil
	}
	before, err := t.jobN(p.other)
	if err != nil {
		return err
	}
	r, err := t.load(before, p.host, p.Host)
	if err != nil || r == nil {
		return err
	}
	return t.withdraw(r, queue.WhySuperseded(j.id))
}

// withdraw ends or flags an execution if it waits.
func (t *tx) withdraw(r *row, why string) error {
	flagged := r.CancelledAt
	r.Withdraw(why, t.now)
	if r.State == r.was && r.CancelledAt.Equal(flagged) {
		return nil
	}
	return t.save(r)
}

// unselected withdraws an execution that is to be leased if the host's labels don't match its job's selector any
// more, and tells whether they don't.
func (t *tx) unselected(p *peer, r *row) (gone bool, err error) {
	j := r.job
	if j.selector.Empty() {
		if j.selector, err = queue.ParseSelector(j.spec.Recheck); err != nil {
			return false, err
		}
	}
	var labels map[string]string
	err = t.query(func(st *sqlite.Stmt) (err error) {
		labels, err = fromJSON[map[string]string](st.ColumnText(0))
		return err
	}, `SELECT labels FROM host WHERE n = ?`, p.n)
	if err != nil || j.selector.Matches(labels) {
		return false, err
	}
	return true, t.withdraw(r, queue.WhyUnselected)
}

// keyOf gives the number of a job's supersede key; none if it has no key.
func (t *tx) keyOf(j *queue.Job) (n opt, err error) {
	if j.Spec.SupersedeKey == "" {
		return opt{}, nil
	}
	if _, err := t.exec(`INSERT OR IGNORE INTO supersede_key (operator, key) VALUES (?, ?)`, j.CreatedBy, j.Spec.SupersedeKey); err != nil {
		return opt{}, err
	}
	_, err = one(t.c, func(st *sqlite.Stmt) { n = some(st.ColumnInt64(0)) }, `SELECT n FROM supersede_key WHERE operator = ? AND key = ?`, j.CreatedBy, j.Spec.SupersedeKey)
	return n, err
}

// forgetNewest removes what is remembered of a job on the hosts of its first executions, up to limit.
func (t *tx) forgetNewest(job int64, limit int) error {
	_, err := t.exec(`DELETE FROM newest WHERE (supersede_key, host) IN (SELECT j.supersede_key, x.host FROM job j JOIN execution x ON x.id BETWEEN ?2 AND ?3
		WHERE j.n = ?1 AND j.supersede_key IS NOT NULL ORDER BY x.id LIMIT CAST(?4 AS INT)) AND job = ?1`, job, firstID(job), lastID(job), limit)
	return err
}

// forgetKey removes the key of a job that goes, if it is the last of its jobs.
func (t *tx) forgetKey(job int64) error {
	_, err := t.exec(`DELETE FROM supersede_key WHERE n = (SELECT supersede_key FROM job WHERE n = ?1)
		AND NOT EXISTS (SELECT 1 FROM job o WHERE o.supersede_key = supersede_key.n AND o.n <> ?1)`, job)
	return err
}

// dueIn is when a poll is overdue if it takes longer than d: by the store's clock, and in service time.
func (t *tx) dueIn(d time.Duration) (at, service opt, err error) {
	ms, err := t.service(d)
	return some(t.now.Add(d).UnixMilli()), some(ms), err
}
