package sqlitequeue

import (
	"context"
	"sync"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// Bounds of the state bytes that are kept in memory.
const (
	maxStateJobs  = 64
	maxStateBytes = 8 << 20
	maxStateLog   = 1 << 16 // moves while some are being read
)

// stateCache keeps the state bytes of the jobs that were asked for last, since
// those who watch a job ask again and again, and reading 100,000 rows takes 40 ms. Commits keep
// it up: single moves are written into it, ranges are marked to be read again.
type stateCache struct {
	mu    sync.Mutex // guards all of it
	jobs  map[int64]*jobStates
	bytes int
	uses  int64
}

type jobStates struct {
	states  []byte
	stale   []span        // to be read anew, in order
	reading chan struct{} // closed when the reader of what was stale is done
	log     []move        // since that began: what it reads may be older
	used    int64
}

// span is a range of ordinals, the last one included.
type span struct{ from, to int64 }

// move is an execution and its new state.
type move struct {
	id int64
	to queue.State
}

// applied takes in what a commit has changed.
func (k *stateCache) applied(moves []move, ranges []span) {
	if len(moves) == 0 && len(ranges) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.jobs) == 0 {
		return
	}
	for _, r := range ranges {
		if e := k.jobs[r.from>>ordinalBits]; e != nil {
			e.mark(span{ordinal(r.from), ordinal(r.to)})
		}
	}
	for _, m := range moves {
		e := k.jobs[m.id>>ordinalBits]
		if e == nil {
			continue
		}
		e.states[ordinal(m.id)] = byte(m.to)
		switch {
		case e.reading == nil:
		case len(e.log) < maxStateLog:
			e.log = append(e.log, m)
		default:
			e.stale, e.log = []span{{0, int64(len(e.states)) - 1}}, nil
		}
	}
}

func ordinal(id int64) int64 { return id & (1<<ordinalBits - 1) }

// mark notes a range as stale; ranges come mostly one behind the other.
func (e *jobStates) mark(r span) {
	if n := len(e.stale); n > 0 && e.stale[n-1].to+1 >= r.from && e.stale[n-1].from <= r.from {
		e.stale[n-1].to = max(e.stale[n-1].to, r.to)
		return
	}
	e.stale = append(e.stale, r)
}

// get gives a job's bytes if they are current. Else the caller is to read the
// spans and call put, or, if there are none, to wait and ask again.
func (k *stateCache) get(job int64, targets int) (states []byte, read []span, wait chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.jobs[job]
	if e == nil {
		e = &jobStates{states: make([]byte, targets), stale: []span{{0, int64(targets) - 1}}}
		if k.jobs == nil {
			k.jobs = map[int64]*jobStates{}
		}
		k.jobs[job] = e
		k.bytes += targets
	}
	k.uses++
	e.used = k.uses
	switch {
	case e.reading != nil:
		return nil, nil, e.reading
	case len(e.stale) == 0:
		return append([]byte(nil), e.states...), nil, nil
	}
	read, e.stale, e.reading, e.log = e.stale, nil, make(chan struct{}), nil
	return nil, read, nil
}

// put ends what get began, with what was read of each span; nil if it failed.
func (k *stateCache) put(job int64, read []span, got [][]byte) (states []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.jobs[job]
	if got == nil {
		e.stale = append(read, e.stale...)
	}
	for i, b := range got {
		copy(e.states[read[i].from:], b)
	}
	// What is in the log has happened since the reading began, or is in it
	// already; the last of each execution is its state now.
	for _, m := range e.log {
		e.states[ordinal(m.id)] = byte(m.to)
	}
	close(e.reading)
	e.reading, e.log = nil, nil
	states = append([]byte(nil), e.states...)
	k.evict()
	return states
}

// evict drops what was used longest ago, beyond the bounds.
func (k *stateCache) evict() {
	for len(k.jobs) > maxStateJobs || k.bytes > maxStateBytes {
		oldest := int64(-1)
		for job, e := range k.jobs {
			if e.reading == nil && (oldest < 0 || e.used < k.jobs[oldest].used) {
				oldest = job
			}
		}
		if oldest < 0 {
			return
		}
		k.drop(oldest)
	}
}

func (k *stateCache) drop(job int64) {
	k.bytes -= len(k.jobs[job].states)
	delete(k.jobs, job)
}

// States gives one state byte per target.
func (s *Store) States(ctx context.Context, job queue.JobID) ([]byte, error) {
	var n int64
	var targets int
	if err := s.read(ctx, func(c *sqlite.Conn) error {
		ok, err := one(c, func(st *sqlite.Stmt) { n, targets = st.ColumnInt64(0), st.ColumnInt(1) }, `SELECT n, targets FROM job WHERE id = ? AND visible = 1`, job)
		if err == nil && !ok {
			err = jobNotFound(job)
		}
		return err
	}); err != nil {
		return nil, err
	}
	for {
		states, spans, wait := s.states.get(n, targets)
		if states != nil {
			return states, nil
		}
		if wait != nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, s.domain(ctx.Err())
			}
		}
		got, err := s.readStates(ctx, n, spans)
		states = s.states.put(n, spans, got)
		if err != nil {
			return nil, err
		}
		return states, nil
	}
}

// readStates reads the state bytes of spans, all of one moment.
func (s *Store) readStates(ctx context.Context, job int64, spans []span) (got [][]byte, err error) {
	err = s.snapshot(ctx, func(c *sqlite.Conn) error {
		for _, r := range spans {
			b, err := storedStates(c, job, r)
			if err != nil {
				return err
			}
			got = append(got, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func storedStates(c *sqlite.Conn, job int64, r span) (states []byte, err error) {
	_, err = one(c, func(st *sqlite.Stmt) { states = colBytes(st, 0) },
		`SELECT group_concat(state, '') FROM (SELECT state FROM execution WHERE id BETWEEN ? AND ? ORDER BY id)`, firstID(job)+r.from, firstID(job)+r.to)
	return states, err
}
