package sqlitequeue

import (
	"encoding/json"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// ordinalBits is the room for ordinals in an execution's number.
const ordinalBits = 20

// firstID and lastID bound the executions of a job.
func firstID(job int64) int64 { return job << ordinalBits }
func lastID(job int64) int64  { return job<<ordinalBits | (1<<ordinalBits - 1) }

// turnFlying is the turn of what is in flight; that of what is queued is from 0
// to turnLast, and above that it is not_before.
const (
	turnFlying = -1
	turnLast   = queue.MaxPriority - queue.MinPriority
)

// row is an execution as its table has it.
type row struct {
	queue.Held
	id      int64
	host    int64
	job     *jobInfo
	n       int64 // of its delivery
	cancelN int64 // of its cancel
	lapse   int64 // service ms; used while in flight

	was            queue.State
	turnWas        opt
	wakeWas        opt
	lapseWas       opt
	outputBytesWas int64
}

const rowColumns = `x.id, x.host, x.incarnation, x.state, x.turn, x.wake_at, x.lapse_at, x.n, x.cancel_n, x.token, x.deliveries,
	x.released_at, x.deliver_until, x.leased_at, x.accepted_at, x.started_at, x.finished_at, x.cancelled_at, x.cancelled_by,
	x.generation, x.position, x.stored, x.stdout, x.stderr, x.dropped, x.gap, x.exit_code, x.signal, x.reason, x.result_at, x.late`

const rowWidth = 31 // columns

// scan reads rowColumns; the job and the host's id are filled in by identify.
func (r *row) scan(st *sqlite.Stmt) error {
	*r = row{id: st.ColumnInt64(0), host: st.ColumnInt64(1)}
	r.Ordinal = int(r.id & (1<<ordinalBits - 1))
	r.Incarnation = st.ColumnInt64(2)
	r.State = colState(st, 3)
	r.was, r.turnWas, r.wakeWas, r.lapseWas = r.State, colOpt(st, 4), colOpt(st, 5), colOpt(st, 6)
	r.lapse = r.lapseWas.v
	if r.State == queue.Planned {
		return nil
	}
	r.n, r.cancelN = st.ColumnInt64(7), st.ColumnInt64(8)
	r.Token, r.Deliveries = st.ColumnText(9), st.ColumnInt(10)
	r.ReleasedAt, r.DeliverUntil = colTime(st, 11), colTime(st, 12)
	r.CancelledAt, r.CancelledBy = colTime(st, 17), st.ColumnText(18)
	if r.State == queue.Queued && r.Deliveries == 0 {
		return nil
	}
	r.LeasedAt, r.AcceptedAt, r.StartedAt, r.FinishedAt = colTime(st, 13), colTime(st, 14), colTime(st, 15), colTime(st, 16)
	r.Generation, r.Position, r.Stored = st.ColumnText(19), st.ColumnInt64(20), st.ColumnInt64(21)
	r.Output = queue.OutputInfo{Stdout: st.ColumnInt64(22), Stderr: st.ColumnInt64(23), Dropped: st.ColumnInt64(24), Gap: st.ColumnInt64(25)}
	r.outputBytesWas = r.Output.Stdout + r.Output.Stderr
	if r.State.Terminal() {
		r.Result = queue.Result{Outcome: r.State, ExitCode: st.ColumnInt(26), Signal: st.ColumnText(27), Reason: st.ColumnText(28), At: colTime(st, 29)}
		if !st.ColumnIsNull(30) {
			late, err := parseLate(st.ColumnText(30))
			if err != nil {
				return err
			}
			r.Late = late
		}
	}
	return nil
}

// identify fills in what the row has by number.
func (r *row) identify(j *jobInfo, host queue.HostID) {
	r.job = j
	r.Job, r.Host = j.id, host
	r.Lane, r.Priority, r.Bound = j.spec.Lane, j.spec.Priority, j.spec.OutputBound()
	if !r.ReleasedAt.IsZero() {
		r.NotBefore = j.spec.NotBefore
	}
}

// places gives turn, wake_at and lapse_at as the state has them.
func (r *row) places(now time.Time) (turn, wake, lapse opt) {
	switch {
	case r.State == queue.Queued && r.NotBefore.After(now):
		return some(r.NotBefore.UnixMilli()), some(r.NotBefore.UnixMilli()), opt{}
	case r.State == queue.Queued:
		return some(int64(queue.MaxPriority - r.Priority)), some(r.DeliverUntil.UnixMilli()), opt{}
	case r.State.InFlight():
		return some(turnFlying), opt{}, some(r.lapse)
	}
	return opt{}, opt{}, opt{}
}

const saveColumns = `state = ?, n = ?, cancel_n = ?, token = ?, deliveries = ?, leased_at = ?, accepted_at = ?, started_at = ?, finished_at = ?,
	cancelled_at = ?, cancelled_by = ?, generation = ?, position = ?, stored = ?, stdout = ?, stderr = ?, dropped = ?, gap = ?,
	exit_code = ?, signal = ?, reason = ?, result_at = ?, late = ?`

// save writes an execution after it was changed. The places are left out where
// they stay, since writing them costs three indexes.
func (t *tx) save(r *row) error {
	turn, wake, lapse := r.places(t.now)
	var exit opt
	if r.State.Terminal() {
		exit = some(int64(r.Result.ExitCode))
	}
	late, err := lateJSON(r.Late)
	if err != nil {
		return err
	}
	args := [...]any{r.State, nonzero(r.n), nonzero(r.cancelN), optText(r.Token), r.Deliveries, r.LeasedAt, r.AcceptedAt, r.StartedAt, r.FinishedAt,
		r.CancelledAt, optText(r.CancelledBy), optText(r.Generation), nonzero(r.Position), nonzero(r.Stored),
		nonzero(r.Output.Stdout), nonzero(r.Output.Stderr), nonzero(r.Output.Dropped), nonzero(r.Output.Gap),
		exit, optText(r.Result.Signal), optText(r.Result.Reason), r.Result.At, late, r.id, turn, wake, lapse}
	if turn == r.turnWas && wake == r.wakeWas && lapse == r.lapseWas {
		_, err = t.exec(`UPDATE execution SET `+saveColumns+` WHERE id = ?`, args[:24]...)
	} else {
		_, err = t.exec(`UPDATE execution SET `+saveColumns+`, turn = ?25, wake_at = ?26, lapse_at = ?27 WHERE id = ?24`, args[:]...)
	}
	if err != nil {
		return err
	}
	t.changedState(r)
	r.turnWas, r.wakeWas, r.lapseWas = turn, wake, lapse
	return nil
}

// changedState counts what became of the execution since it was read.
func (t *tx) changedState(r *row) {
	if r.State != r.was {
		t.moved(r.id>>ordinalBits, r.was, r.State, 1)
		t.moves = append(t.moves, move{r.id, r.State})
		r.was = r.State
	}
	if bytes := r.Output.Stdout + r.Output.Stderr; bytes != r.outputBytesWas {
		t.delta(r.id >> ordinalBits).bytes += bytes - r.outputBytesWas
		r.outputBytesWas = bytes
	}
}

// load reads a host's execution of a job; nil if there is none.
func (t *tx) load(j *jobInfo, hostN int64, host queue.HostID) (*row, error) {
	var found *row
	err := t.query(func(st *sqlite.Stmt) error {
		found = new(row)
		return found.scan(st)
	}, `SELECT `+rowColumns+` FROM execution x INDEXED BY execution_host WHERE x.host = ? AND x.id BETWEEN ? AND ?`, hostN, firstID(j.n), lastID(j.n))
	if err == nil && found != nil {
		found.identify(j, host)
	}
	return found, err
}

// live reads a host's executions that are queued or in flight, by lane, turn
// and age, at most limit.
func (t *tx) live(hostN int64, host queue.HostID, limit int) ([]*row, error) {
	return t.rows(host, `SELECT `+rowColumns+` FROM execution x INDEXED BY execution_live WHERE x.host = CAST(? AS INT) AND x.turn IS NOT NULL
		ORDER BY x.lane, x.turn, x.id LIMIT CAST(? AS INT)`, hostN, limit)
}

// rows reads executions of one host.
func (t *tx) rows(host queue.HostID, sql string, args ...any) (rows []*row, err error) {
	err = t.query(func(st *sqlite.Stmt) error {
		r := new(row)
		rows = append(rows, r)
		return r.scan(st)
	}, sql, args...)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		j, err := t.jobN(r.id >> ordinalBits)
		if err != nil {
			return nil, err
		}
		r.identify(j, host)
	}
	return rows, nil
}

// lateResult is a late result as its column has it.
type lateResult struct {
	Outcome  string `json:"outcome"`
	ExitCode int    `json:"exit_code"`
	Signal   string `json:"signal,omitempty"`
	Reason   string `json:"reason,omitempty"`
	At       int64  `json:"at"`
}

func lateJSON(r *queue.Result) (optText, error) {
	if r == nil {
		return "", nil
	}
	at := int64(0)
	if !r.At.IsZero() {
		at = r.At.UnixMilli()
	}
	b, err := json.Marshal(lateResult{r.Outcome.String(), r.ExitCode, r.Signal, r.Reason, at})
	return optText(b), err
}

func parseLate(text string) (*queue.Result, error) {
	var l lateResult
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return nil, fmt.Errorf("sqlitequeue: column late: %w", err)
	}
	outcome, err := queue.ParseState(l.Outcome)
	if err != nil {
		return nil, err
	}
	r := &queue.Result{Outcome: outcome, ExitCode: l.ExitCode, Signal: l.Signal, Reason: l.Reason}
	if l.At != 0 {
		r.At = time.UnixMilli(l.At).UTC()
	}
	return r, nil
}
