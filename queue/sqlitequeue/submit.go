package sqlitequeue

import (
	"context"
	"strings"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// maxNamed bounds the offending names of an error.
const maxNamed = 20

// submits holds the ids and idempotency keys of the submits that are under way:
// a repeat waits for the first, whose targets may take several transactions.
type submits struct {
	mu   sync.Mutex // guards busy
	busy map[string]chan struct{}
}

// begin waits until no submit with one of the names is under way, and takes
// them. end gives them back.
func (u *submits) begin(ctx context.Context, names ...string) (end func(), err error) {
	for {
		wait := u.tryBegin(names)
		if wait == nil {
			return func() { u.end(names) }, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (u *submits) tryBegin(names []string) (wait chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range names {
		if c := u.busy[n]; c != nil {
			return c
		}
	}
	if u.busy == nil {
		u.busy = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	for _, n := range names {
		u.busy[n] = c
	}
	return nil
}

func (u *submits) end(names []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	close(u.busy[names[0]])
	for _, n := range names {
		delete(u.busy, n)
	}
}

// running tells whether the job is being submitted.
func (u *submits) running(id queue.JobID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.busy["id "+string(id)] != nil
}

// Submit stores a job with its frozen targets.
func (s *Store) Submit(ctx context.Context, n queue.NewJob) (j queue.Job, created bool, err error) {
	if err := n.Validate(); err != nil {
		return j, false, err
	}
	names := []string{"id " + string(n.Job.ID)}
	if n.IdempotencyKey != "" {
		names = append(names, "key "+n.IdempotencyKey)
	}
	end, err := s.submits.begin(ctx, names...)
	if err != nil {
		return j, false, s.domain(err)
	}
	defer end()
	if j, found, err := s.submitted(ctx, n.IdempotencyKey, n.Digest, n.Job.ID); err != nil || found {
		return j, false, err
	}
	hosts, err := s.resolve(ctx, n.Targets)
	if err != nil {
		return j, false, err
	}
	j, err = s.insertJob(ctx, &n, hosts)
	return j, err == nil, err
}

// Repeat finds the job that was submitted under an idempotency key.
func (s *Store) Repeat(ctx context.Context, key, digest string) (j queue.Job, found bool, err error) {
	return s.submitted(ctx, key, digest, "")
}

// submitted finds the job that an earlier submit of the same key, or else of
// the same id, has made.
func (s *Store) submitted(ctx context.Context, key, wanted string, job queue.JobID) (j queue.Job, found bool, err error) {
	var id, digest string
	byKey := false
	err = s.snapshot(ctx, func(c *sqlite.Conn) (err error) {
		if key != "" {
			byKey, err = one(c, func(st *sqlite.Stmt) { id, digest = st.ColumnText(0), st.ColumnText(1) },
				`SELECT j.id, i.digest FROM idempotency i JOIN job j ON j.n = i.job WHERE i.key = ? AND j.visible = 1`, key)
		}
		if err == nil && !byKey {
			_, err = one(c, func(st *sqlite.Stmt) { id = st.ColumnText(0) }, `SELECT id FROM job WHERE id = ? AND visible = 1`, job)
		}
		return err
	})
	switch {
	case err != nil || id == "":
		return j, false, err
	case byKey && digest != wanted:
		return j, false, queue.Errorf(queue.Conflict, "idempotency key %.60q: used before for another request (job %s)", key, id)
	}
	st, err := s.Job(ctx, queue.JobID(id))
	return st.Job, true, err
}

// resolve finds the targets' hosts by number.
func (s *Store) resolve(ctx context.Context, targets []queue.Target) (hosts []int64, err error) {
	hosts = make([]int64, len(targets))
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		var all int64
		if _, err := one(c, func(st *sqlite.Stmt) { all = st.ColumnInt64(0) }, `SELECT max(n) FROM host`); err != nil {
			return err
		}
		if all/resolveByScan < int64(len(targets)) {
			return scanTargets(c, targets, hosts)
		}
		for i, t := range targets {
			if _, err := one(c, func(st *sqlite.Stmt) { hosts[i] = st.ColumnInt64(0) },
				`SELECT n FROM host WHERE id = ? AND incarnation = ? AND revoked = 0 AND deleted = 0`, t.Host, t.Incarnation); err != nil {
				return err
			}
		}
		return nil
	})
	var bad []string
	total := 0
	for i, n := range hosts {
		if n == 0 {
			if total++; len(bad) < maxNamed {
				bad = append(bad, string(targets[i].Host))
			}
		}
	}
	if err == nil && total > 0 {
		err = missing(bad, total, "targets: not enrolled, or enrolled anew since they were chosen")
	}
	return hosts, err
}

// resolveByScan is when reading all hosts is cheaper than finding each target:
// measured, a row read costs a fourth of one that is found.
const resolveByScan = 4

// scanTargets finds the targets' hosts by reading all.
func scanTargets(c *sqlite.Conn, targets []queue.Target, hosts []int64) error {
	place := make(map[queue.HostID]int, len(targets))
	for i, t := range targets {
		place[t.Host] = i
	}
	return query(c, func(st *sqlite.Stmt) error {
		i, ok := place[queue.HostID(st.ColumnText(1))]
		if ok && targets[i].Incarnation == st.ColumnInt64(2) {
			hosts[i] = st.ColumnInt64(0)
		}
		return nil
	}, `SELECT n, id, incarnation FROM host WHERE revoked = 0 AND deleted = 0`)
}

func joinSome(items []string, total int) string {
	text := strings.Join(items, ", ")
	if total > len(items) {
		text += ", ..."
	}
	return text
}

// submitStep is how many targets are stored in one transaction, so that others
// pass while a large job comes in. It is visible with its last target.
const submitStep = 2000

func (s *Store) insertJob(ctx context.Context, n *queue.NewJob, hosts []int64) (queue.Job, error) {
	j := n.Job
	j.CreatedAt, j.Targets, j.Control = s.now(), len(n.Targets), queue.Active
	j.Spec.NotBefore = truncate(j.Spec.NotBefore)
	var number int64
	for from := 0; from < len(hosts); from += submitStep {
		to := min(from+submitStep, len(hosts))
		err := s.write(ctx, to-from+2, func(t *tx) (err error) {
			if from == 0 {
				if err := s.roomFor(t, n); err != nil {
					return err
				}
				j.CreatedAt = t.now
				if number, err = t.insertJob(n, &j); err != nil {
					return err
				}
			}
			for i := from; i < to; i++ {
				if _, err := t.exec(`INSERT INTO execution (id, host, incarnation, state, lane) VALUES (?, ?, ?, 'p', ?)`,
					firstID(number)+int64(i), hosts[i], n.Targets[i].Incarnation, j.Spec.Lane); err != nil {
					return err
				}
			}
			if to == len(hosts) {
				_, err = t.exec(`UPDATE job SET visible = 1 WHERE n = ?`, number)
			}
			return err
		})
		if err != nil { // what was stored is invisible, and goes with the next sweep
			return queue.Job{}, err
		}
	}
	return j, nil
}

// roomFor checks that a submit leaves room for results.
func (s *Store) roomFor(t *tx, n *queue.NewJob) error {
	limit := s.maxBytes.Load()
	if limit == 0 {
		return nil
	}
	used, err := usedBytes(t.c)
	if err != nil {
		return err
	}
	if need := recordBytes(n); used+need > limit/5*4 {
		e := queue.Errorf(queue.Full, "store %s: %d bytes are used and the job needs about %d; submits may fill 80 %% of %d", s.path, used, need, limit)
		e.Retry = fullRetry
		return e
	}
	return nil
}

// recordBytes is about what the records of a job take.
func recordBytes(n *queue.NewJob) int64 {
	const perJob, perExecution = 1024, 320
	env := 0
	for k, v := range n.Job.Spec.Env {
		env += len(k) + len(v) + 6
	}
	return perJob + int64(len(n.Script)+env) + perExecution*int64(len(n.Targets))
}

func (t *tx) insertJob(n *queue.NewJob, j *queue.Job) (number int64, err error) {
	// A submit that broke off may have left its parts: free the names.
	if err := t.freeNames(j.ID, n.IdempotencyKey); err != nil {
		return 0, err
	}
	key, err := t.keyOf(j)
	if err != nil {
		return 0, err
	}
	p := &j.Spec
	if _, err := t.exec(`INSERT INTO job (id, visible, control, name, lane, priority, not_before, pickup_timeout, run_timeout, grace,
		output_limit, run_as, dir, script_size, script_sha256, created_at, created_by, rerun_of, selection, targets,
		offline, recheck, supersede_key) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.ID, string(j.Control), p.Name, p.Lane, p.Priority, p.NotBefore, p.PickupTimeout, p.RunTimeout, p.Grace,
		p.OutputLimit, p.User, p.Dir, j.ScriptSize, j.ScriptSHA256, j.CreatedAt, j.CreatedBy, j.RerunOf, j.Selection, j.Targets,
		string(p.Offline), p.Recheck, key); err != nil {
		return 0, err
	}
	number = t.c.LastInsertRowID()
	if _, err := t.exec(`INSERT INTO job_payload VALUES (?, ?, ?)`, number, n.Script, toJSON(p.Env)); err != nil {
		return 0, err
	}
	if _, err := t.exec(`INSERT INTO progress (job, open, next, record_bytes, planned) VALUES (?, 1, 0, ?, ?)`, number, recordBytes(n), j.Targets); err != nil {
		return 0, err
	}
	if n.IdempotencyKey != "" {
		_, err = t.exec(`INSERT INTO idempotency VALUES (?, ?, ?)`, n.IdempotencyKey, number, n.Digest)
	}
	return number, err
}

// freeNames renames what an invisible job still has of an id or key.
func (t *tx) freeNames(id queue.JobID, key string) error {
	if _, err := t.exec(`UPDATE job SET id = 'removed ' || n WHERE id = ? AND visible = 0`, id); err != nil {
		return err
	}
	_, err := t.exec(`DELETE FROM idempotency WHERE key = ? AND job IN (SELECT n FROM job WHERE visible = 0)`, key)
	return err
}
