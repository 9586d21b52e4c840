package sqlitequeue

import (
	"encoding/json"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// A parameter that is compared in a query over a partial index, or that is a
// LIMIT, stands in a CAST: SQLite otherwise looks at its value when it compiles the statement, and so
// compiles it again for each value.

// query runs a statement that the connection keeps prepared, and calls row for
// each row (nil = none are expected). row must not use the same statement.
func query(c *sqlite.Conn, row func(st *sqlite.Stmt) error, sql string, args ...any) error {
	st, err := c.Prepare(sql)
	if err != nil {
		return err
	}
	for i, a := range args {
		bind(st, i+1, a)
	}
	for {
		ok, err := st.Step()
		if err == nil && ok && row != nil {
			err = row(st)
		}
		if err != nil {
			st.Reset()
			return err
		}
		if !ok {
			return st.Reset()
		}
	}
}

// one runs a statement of which only the first row is read; ok tells whether
// there was one.
func one(c *sqlite.Conn, row func(st *sqlite.Stmt), sql string, args ...any) (ok bool, err error) {
	err = query(c, func(st *sqlite.Stmt) error {
		if !ok {
			row(st)
		}
		ok = true
		return nil
	}, sql, args...)
	return ok, err
}

// bind gives a parameter its value: zero times, nil slices and nil are NULL,
// durations are milliseconds.
func bind(st *sqlite.Stmt, i int, a any) {
	switch v := a.(type) {
	case nil:
		st.BindNull(i)
	case int64:
		st.BindInt64(i, v)
	case int:
		st.BindInt64(i, int64(v))
	case bool:
		st.BindBool(i, v)
	case string:
		st.BindText(i, v)
	case queue.HostID:
		st.BindText(i, string(v))
	case queue.JobID:
		st.BindText(i, string(v))
	case queue.Lane:
		st.BindText(i, string(v))
	case queue.State:
		st.BindText(i, stateCode(v))
	case []byte:
		if v == nil {
			st.BindNull(i)
		} else {
			st.BindBytes(i, v)
		}
	case time.Time:
		if v.IsZero() {
			st.BindNull(i)
		} else {
			st.BindInt64(i, v.UnixMilli())
		}
	case time.Duration:
		st.BindInt64(i, v.Milliseconds())
	case opt:
		if v.ok {
			st.BindInt64(i, v.v)
		} else {
			st.BindNull(i)
		}
	case optText:
		if v == "" {
			st.BindNull(i)
		} else {
			st.BindText(i, string(v))
		}
	default:
		panic(fmt.Sprintf("sqlitequeue: bind of %T", a))
	}
}

// opt is an integer that may be NULL.
type opt struct {
	v  int64
	ok bool
}

func some(v int64) opt { return opt{v, true} }

// nonzero is NULL for 0: a NULL takes no room in a row.
func nonzero(v int64) opt { return opt{v, v != 0} }

// optText is a text that is NULL if empty.
type optText string

func colOpt(st *sqlite.Stmt, i int) opt {
	if st.ColumnIsNull(i) {
		return opt{}
	}
	return some(st.ColumnInt64(i))
}

func colTime(st *sqlite.Stmt, i int) time.Time {
	ms := st.ColumnInt64(i)
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func colDuration(st *sqlite.Stmt, i int) time.Duration {
	return time.Duration(st.ColumnInt64(i)) * time.Millisecond
}

func colBytes(st *sqlite.Stmt, i int) []byte {
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}

func colState(st *sqlite.Stmt, i int) queue.State {
	var b [1]byte
	st.ColumnBytes(i, b[:])
	return queue.State(b[0])
}

// stateCode is the state byte as text, without an allocation.
func stateCode(s queue.State) string {
	const codes = "pqlarsftcejx"
	for i := range len(codes) {
		if codes[i] == byte(s) {
			return codes[i : i+1]
		}
	}
	panic("sqlitequeue: state " + s.String())
}

// truncate cuts a time to what the store keeps.
func truncate(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// toJSON gives the JSON of a map or slice, NULL if it is empty.
func toJSON[M ~map[K]V, K comparable, V any](m M) optText {
	if len(m) == 0 {
		return ""
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // maps of text and numbers can't fail
	}
	return optText(b)
}

// fromJSON is the inverse of toJSON.
func fromJSON[M ~map[K]V, K comparable, V any](text string) (m M, err error) {
	if text == "" || text == "{}" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("sqlitequeue: a JSON column: %w", err)
	}
	return m, nil
}
