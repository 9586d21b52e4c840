package agent

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// compactAt is the size below which a journal isn't rewritten, in bytes.
const compactAt = 1 << 20

// journal keeps entries on disk. Concurrent puts share one write and one sync.
type journal struct {
	path    string // "" = kept in memory only
	machine string
	gen     string

	lead chan struct{} // held by the put that writes
	// Of the holder of lead.
	file   *os.File
	size   int64
	base   int64 // size after the last rewrite
	broken bool  // the file's end is uncertain: rewrite before the next write

	mu       sync.Mutex // guards the following
	entries  map[string]Entry
	next     int64 // position of the next record
	written  int64 // position of the last record that was written
	durable  int64 // position of the last record that was synced, or was written before such a one
	synced   int64 // bytes of the file that are on the disk for certain
	rewrites int   // how often the file was replaced: sizes are of the one that it is now
	batch    *batch
	closed   bool
}

// batch is a group of records that are written together.
type batch struct {
	buf      []byte
	records  []record
	rewrites int // as they were when it was begun
	sync     bool
	last     int64
	done     chan struct{}
	err      error // readable after done
}

var errJournalClosed = errors.New("journal: closed")

// openJournal reads a journal, or begins one: a new generation. A journal that was
// begun on another machine is refused.
func openJournal(path, machine string) (*journal, error) {
	j := &journal{path: path, machine: machine, lead: make(chan struct{}, 1), entries: map[string]Entry{}, next: 1}
	if path == "" {
		j.gen = newID()
		return j, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		j.gen = newID()
		return j, j.rewrite()
	}
	if err != nil {
		return nil, err
	}
	c, err := parseJournal(b)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w; moved away, a new generation begins, and what was running is lost", path, err)
	}
	if c.header.Machine != "" && machine != "" && c.header.Machine != machine {
		return nil, fmt.Errorf("journal %s: written on another machine (%.8s..., this is %.8s...): this state directory was copied; empty it and enrol this host", path, c.header.Machine, machine)
	}
	j.gen, j.entries, j.next = c.header.Generation, c.entries, c.header.Next
	j.written, j.durable = j.next-1, j.next-1
	if j.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	j.size, j.base = int64(c.size), int64(c.size)
	if len(b) > c.size {
		err = j.file.Truncate(j.size)
	}
	// What is in force from here on is on the disk, whatever the agent before had synced.
	if err = errors.Join(err, j.file.Sync()); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	j.synced = j.size
	return j, nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // it never fails
	return hex.EncodeToString(b[:])
}

// put records an entry, whose Position it sets if that is 0. It returns when the record is
// written, with sync when it is on the disk. After an error the record isn't in
// force, though it may be found on disk by the next agent.
func (j *journal) put(e *Entry, sync bool) error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return errJournalClosed
	}
	n := j.next
	if e.Position == 0 {
		e.Position = n
	}
	b := j.batch
	if b == nil {
		b = &batch{done: make(chan struct{}), rewrites: j.rewrites}
	}
	own := *e
	r := record{n, &own, j.synced}
	var err error
	if j.path != "" {
		b.buf, err = appendRecord(b.buf, r)
	}
	if err != nil {
		j.mu.Unlock()
		return err
	}
	j.next++
	j.batch = b
	b.records = append(b.records, r)
	b.sync = b.sync || sync
	b.last = n
	j.mu.Unlock()

	select {
	case <-b.done:
		return b.err
	case j.lead <- struct{}{}:
	}
	j.flush(b)
	<-j.lead
	<-b.done
	return b.err
}

// flush writes a batch, unless another put has. The caller holds lead.
func (j *journal) flush(b *batch) {
	j.mu.Lock()
	if j.batch != b {
		j.mu.Unlock()
		return
	}
	j.batch = nil
	j.mu.Unlock()

	b.err = j.write(b)

	j.mu.Lock()
	if b.err == nil {
		for _, r := range b.records {
			j.entries[r.Entry.Execution] = *r.Entry
		}
		j.written = b.last
		if b.sync || j.path == "" {
			j.durable, j.synced = b.last, j.size
		}
	}
	j.mu.Unlock()
	close(b.done)
	if j.size > max(compactAt, 2*j.base) {
		// A failure leaves the old file in use, or marks it as broken.
		_ = j.rewrite()
	}
}

func (j *journal) write(b *batch) error {
	if j.path == "" {
		return nil
	}
	if j.broken {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	if err := j.renew(b); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(b.buf, j.size); err != nil {
		j.broken = true
		return fmt.Errorf("journal: %w", err)
	}
	if b.sync {
		// After a sync that failed nobody knows what is on the disk.
		if err := j.file.Sync(); err != nil {
			j.broken = true
			return fmt.Errorf("journal: %w", err)
		}
	}
	j.size += int64(len(b.buf))
	return nil
}

// renew encodes a batch again if the file was replaced since it was begun: its records tell of the one before.
func (j *journal) renew(b *batch) (err error) {
	j.mu.Lock()
	synced, current := j.synced, b.rewrites == j.rewrites
	j.mu.Unlock()
	if current {
		return nil
	}
	b.buf = b.buf[:0]
	for _, r := range b.records {
		r.Synced = synced
		if b.buf, err = appendRecord(b.buf, r); err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces the file by one that holds the entries in force. The caller holds
// lead, or is the only user.
func (j *journal) rewrite() error {
	if j.path == "" {
		return nil
	}
	j.mu.Lock()
	entries := slices.SortedFunc(maps.Values(j.entries), func(a, b Entry) int { return int(min(max(a.Position-b.Position, -1), 1)) })
	h := header{Generation: j.gen, Machine: j.machine, Next: j.written + 1}
	j.mu.Unlock()
	buf := binary.LittleEndian.AppendUint32([]byte(journalMagic), journalVersion)
	buf, err := appendRecord(buf, h)
	for i := range entries {
		if err == nil {
			buf, err = appendRecord(buf, record{N: entries[i].Position, Entry: &entries[i]})
		}
	}
	if err != nil {
		return err
	}
	tmp := j.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err = f.Write(buf); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), f.Close(), os.Remove(tmp))
	}
	if j.file != nil {
		j.file.Close() //nolint:errcheck // it is no longer of use
	}
	// From here on the new file is the journal, whatever a crash leaves of the name.
	j.file, j.size, j.base, j.broken = f, int64(len(buf)), int64(len(buf)), false
	j.mu.Lock()
	j.rewrites++
	j.synced, j.durable = j.size, j.written
	j.mu.Unlock()
	if err := syncDir(filepath.Dir(j.path)); err != nil {
		j.broken = true
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) get(execution string) (Entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[execution]
	return e, ok
}

// list gives all entries in order of their position.
func (j *journal) list() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.SortedFunc(maps.Values(j.entries), func(a, b Entry) int { return int(min(max(a.Position-b.Position, -1), 1)) })
}

// position is that of the last record that is on the disk: one that a power failure takes back isn't told.
func (j *journal) position() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

// drop forgets entries for good; they leave the file when it is rewritten. It tells whether
// any are left.
func (j *journal) drop(which func(Entry) bool) (left bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.entries, func(_ string, e Entry) bool { return which(e) })
	return len(j.entries) > 0
}

// close syncs what was written, and ends the journal.
func (j *journal) close() error {
	j.lead <- struct{}{}
	defer func() { <-j.lead }()
	j.mu.Lock()
	b := j.batch
	j.batch, j.closed = nil, true
	j.mu.Unlock()
	if b != nil {
		b.err = errJournalClosed
		close(b.done)
	}
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Sync(), j.file.Close())
	j.file = nil
	return err
}
