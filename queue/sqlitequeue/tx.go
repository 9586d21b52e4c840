package sqlitequeue

import (
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// tx is the writer's transaction of one batch.
type tx struct {
	c       *sqlite.Conn
	now     time.Time
	cache   *cache
	changed bool // by the verb that runs

	deltas map[int64]*delta // by job: written once, before the commit
	moves  []move           // what state bytes become, for those who keep them
	ranges []span           // of executions, of which some moved
	hints  []hint
}

// delta is what a batch changes in a job's counters.
type delta struct {
	moved [12]int64 // in the order of queue.States
	ended bool
	bytes int64 // of output
}

// hint is for the gateway that owns the host.
type hint struct {
	gateway string
	host    queue.HostID
}

// cache is what the writer knows without reading: nobody else changes the
// file. It is cleared by a rollback.
type cache struct {
	jobs  map[queue.JobID]*jobInfo
	byN   map[int64]*jobInfo
	peers map[queue.HostID]*peer
	clock *queue.ServiceClock
}

// jobInfo is what verbs need of a job; what is stored of it never changes.
type jobInfo struct {
	n       int64
	id      queue.JobID
	spec    queue.Spec // lane, priority, times, output limit, offline and recheck only
	visible bool

	createdAt time.Time
	key       int64          // that it supersedes by; 0 = none
	selector  queue.Selector // spec.Recheck, once it was needed
}

// Bounds of the cache. A peer takes about 300 bytes.
const (
	maxCachedJobs  = 4096
	maxCachedPeers = 1 << 17
)

func (k *cache) clear() { *k = cache{} }

func (k *cache) add(j *jobInfo) {
	if k.jobs == nil || len(k.jobs) >= maxCachedJobs {
		k.jobs, k.byN = map[queue.JobID]*jobInfo{}, map[int64]*jobInfo{}
	}
	k.byN[j.n] = j
	if j.visible {
		k.jobs[j.id] = j
	}
}

func (k *cache) drop(n int64) {
	if j := k.byN[n]; j != nil {
		delete(k.byN, n)
		delete(k.jobs, j.id)
	}
}

// query reads within the transaction.
func (t *tx) query(row func(st *sqlite.Stmt) error, sql string, args ...any) error {
	return query(t.c, row, sql, args...)
}

// exec changes something, and tells how many rows.
func (t *tx) exec(sql string, args ...any) (int, error) {
	t.changed = true
	if err := query(t.c, nil, sql, args...); err != nil {
		return 0, err
	}
	return t.c.Changes(), nil
}

func (t *tx) delta(job int64) *delta {
	d := t.deltas[job]
	if d == nil {
		if t.deltas == nil {
			t.deltas = map[int64]*delta{}
		}
		d = new(delta)
		t.deltas[job] = d
	}
	return d
}

// moved counts n executions of a job from one state to another.
func (t *tx) moved(job int64, from, to queue.State, n int) {
	if n == 0 {
		return
	}
	d := t.delta(job)
	d.moved[stateIndex(from)] -= int64(n)
	d.moved[stateIndex(to)] += int64(n)
	d.ended = d.ended || to.Terminal()
}

func stateIndex(s queue.State) int {
	switch s {
	case queue.Planned:
		return 0
	case queue.Queued:
		return 1
	case queue.Leased:
		return 2
	case queue.Accepted:
		return 3
	case queue.Running:
		return 4
	case queue.Succeeded:
		return 5
	case queue.Failed:
		return 6
	case queue.TimedOut:
		return 7
	case queue.Cancelled:
		return 8
	case queue.Expired:
		return 9
	case queue.Rejected:
		return 10
	case queue.Lost:
		return 11
	}
	panic("sqlitequeue: " + s.String())
}

// flush writes the counters of all jobs that the batch touched.
func (t *tx) flush() error {
	for job, d := range t.deltas {
		m := &d.moved
		if _, err := t.exec(`UPDATE progress SET planned = planned + ?, queued = queued + ?, leased = leased + ?, accepted = accepted + ?,
			running = running + ?, succeeded = succeeded + ?, failed = failed + ?, timed_out = timed_out + ?, cancelled = cancelled + ?,
			expired = expired + ?, rejected = rejected + ?, lost = lost + ?, output_bytes = output_bytes + ? WHERE job = ?`,
			m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], d.bytes, job); err != nil {
			return err
		}
		if !d.ended {
			continue
		}
		if _, err := t.exec(`UPDATE progress SET finished_at = ? WHERE job = ? AND finished_at IS NULL
			AND planned + queued + leased + accepted + running = 0`, t.now, job); err != nil {
			return err
		}
	}
	t.deltas = nil
	return nil
}

// hint tells the gateway, after the commit, to look at the host.
func (t *tx) hint(gateway string, host queue.HostID) {
	if gateway != "" {
		t.hints = append(t.hints, hint{gateway, host})
	}
}

// clock is the service clock as stored.
func (t *tx) clock() (queue.ServiceClock, error) {
	if t.cache.clock == nil {
		var k queue.ServiceClock
		err := t.query(func(st *sqlite.Stmt) error {
			switch st.ColumnText(0) {
			case "service_last":
				k.Last = colTime(st, 1)
			case "service_ms":
				k.Service = colDuration(st, 1)
			}
			return nil
		}, `SELECT key, value FROM meta WHERE key IN ('service_last', 'service_ms')`)
		if err != nil {
			return k, err
		}
		t.cache.clock = &k
	}
	return *t.cache.clock, nil
}

// tick advances the service clock.
func (t *tx) tick() error {
	k, err := t.clock()
	if err != nil {
		return err
	}
	k = k.Tick(t.now)
	if _, err := t.exec(`INSERT OR REPLACE INTO meta VALUES ('service_last', ?), ('service_ms', ?)`, k.Last, k.Service); err != nil {
		return err
	}
	t.cache.clock = &k
	return nil
}

// service is the present service time plus d, as lapse_at keeps it.
func (t *tx) service(d time.Duration) (int64, error) {
	k, err := t.clock()
	return (k.At(t.now) + d).Milliseconds(), err
}

const jobInfoColumns = `n, id, lane, priority, not_before, pickup_timeout, run_timeout, grace, visible, output_limit,
	offline, recheck, created_at, supersede_key`

const jobInfoWidth = 14 // columns

func readJobInfo(st *sqlite.Stmt) *jobInfo {
	return &jobInfo{n: st.ColumnInt64(0), id: queue.JobID(st.ColumnText(1)), spec: queue.Spec{
		Lane: queue.Lane(st.ColumnText(2)), Priority: st.ColumnInt(3), NotBefore: colTime(st, 4),
		PickupTimeout: colDuration(st, 5), RunTimeout: colDuration(st, 6), Grace: colDuration(st, 7), OutputLimit: st.ColumnInt64(9),
		Offline: queue.OfflinePolicy(st.ColumnText(10)), Recheck: st.ColumnText(11),
	}, visible: st.ColumnBool(8), createdAt: colTime(st, 12), key: st.ColumnInt64(13)}
}

// job finds a visible job by its id; nil if there is none.
func (t *tx) job(id queue.JobID) (*jobInfo, error) {
	if j := t.cache.jobs[id]; j != nil {
		return j, nil
	}
	return t.loadJob(`SELECT `+jobInfoColumns+` FROM job WHERE id = ? AND visible = 1`, id)
}

// jobN finds the job of an execution.
func (t *tx) jobN(n int64) (*jobInfo, error) {
	if j := t.cache.byN[n]; j != nil {
		return j, nil
	}
	j, err := t.loadJob(`SELECT `+jobInfoColumns+` FROM job WHERE n = ?`, n)
	if err == nil && j == nil {
		err = fmt.Errorf("an execution's job (number %d) is missing", n)
	}
	return j, err
}

func (t *tx) loadJob(sql string, key any) (j *jobInfo, err error) {
	_, err = one(t.c, func(st *sqlite.Stmt) { j = readJobInfo(st) }, sql, key)
	if j != nil {
		t.cache.add(j)
	}
	return j, err
}

func jobNotFound(id queue.JobID) error {
	return queue.Errorf(queue.NotFound, "job %s: not found", id)
}

// exists tells whether a query has a row.
func (t *tx) exists(sql string, args ...any) (bool, error) {
	return one(t.c, func(*sqlite.Stmt) {}, sql, args...)
}
