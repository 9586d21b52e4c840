package sqlitequeue

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/rexgate/rexgate/queue"
)

// applicationID marks a file as a store of ours: "rexg".
const applicationID = 0x72657867

const (
	defaultReaders = 4
	writerCache    = 64 << 10 // KiB
	readerCache    = 8 << 10  // KiB
	// checkpointPages is how long the write-ahead log grows before it is folded
	// into the file: a longer one costs less, since pages come up again.
	checkpointPages = 8192
	busyTimeout     = 10 * time.Second
)

// schemas are the migrations, numbered from 001: each is applied once, in
// order, and never changes afterwards.
//
//go:embed schema/*.sql
var schemas embed.FS

// Open opens the store, creates or migrates it, and holds it until Close. Errors
// are *queue.Error of one line: Conflict if another process has it, Invalid if
// the file isn't a store or is a newer one, Unavailable if it can't be read or
// written.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{path: o.Path, clock: o.Clock, log: o.Log, done: make(chan struct{})}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.maxBytes.Store(o.MaxBytes)
	n := o.Readers
	if n <= 0 {
		n = defaultReaders
	}
	s.readers = readers{open: s.openReader, slots: make(chan struct{}, n)}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		s.lock.Close()
		return nil, err
	}
	s.w.start()
	return s, nil
}

// takeLock makes this process the file's only user.
func (s *Store) takeLock() error {
	f, taken, err := lockFile(s.path + "-lock")
	if taken {
		return queue.Errorf(queue.Conflict, "store %s: in use by another process%s; one process at a time may open it", s.path, holder(s.path+"-lock"))
	}
	if err != nil {
		return queue.Errorf(queue.Unavailable, "store %s: cannot be opened for writing: %w", s.path, err)
	}
	s.lock = f
	// For whoever is refused; the lock holds without it.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return nil
}

// holder names the process that wrote the lock file, if it can be read.
func holder(path string) string {
	b, err := os.ReadFile(path)
	pid := strings.TrimSpace(string(b))
	if _, e := strconv.Atoi(pid); err != nil || e != nil {
		return ""
	}
	return " (pid " + pid + ")"
}

// connect opens the writer's connection and brings the schema up to date. On
// an error nothing stays open but the lock.
func (s *Store) connect(ctx context.Context) error {
	if err := checkHeader(s.path); err != nil {
		return err
	}
	version, err := s.identify()
	if err != nil {
		return s.cannotOpen(err)
	}
	files, err := fs.Glob(schemas, "schema/*.sql") // in order of their names
	if err != nil {
		return err
	}
	if version > len(files) {
		return queue.Errorf(queue.Invalid, "store %s: made by a newer version of rexgate (schema %d, this one knows %d); upgrade rexgate", s.path, version, len(files))
	}
	c, err := s.openWriter()
	if err != nil {
		return s.cannotOpen(err)
	}
	if err := s.migrate(ctx, c, version, files); err != nil {
		c.Close()
		return s.cannotOpen(err)
	}
	if version == 0 {
		if err := syncDir(filepath.Dir(s.path)); err != nil {
			c.Close()
			return s.cannotOpen(err)
		}
	}
	g, err := newGuard(s.path)
	if err != nil {
		c.Close()
		return s.cannotOpen(err)
	}
	s.w = &writer{open: s.openWriter, check: func() error { return g.check(s.path) }, now: s.now, log: s.log, c: c, after: s.committed}
	return nil
}

func (s *Store) cannotOpen(err error) error {
	var qe *queue.Error
	if errors.As(err, &qe) {
		return qe
	}
	if code := sqlite.ErrCode(err).ToPrimary(); code == sqlite.ResultNotADB || code == sqlite.ResultCorrupt {
		return queue.Errorf(queue.Invalid, "store %s: not an SQLite file, or a damaged one: %w", s.path, err)
	}
	return queue.Errorf(queue.Unavailable, "store %s: cannot be opened: %w", s.path, err)
}

// checkHeader refuses what is no SQLite file before SQLite sees it. A file that
// isn't there is made, for this user only; an empty one will be a store.
func checkHeader(path string) error {
	const magic = "SQLite format 3\x00"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return queue.Errorf(queue.Unavailable, "store %s: cannot be opened for writing: %w", path, err)
	}
	defer f.Close()
	head := make([]byte, len(magic))
	n, err := io.ReadFull(f, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return queue.Errorf(queue.Unavailable, "store %s: cannot be read: %w", path, err)
	case string(head[:n]) != magic:
		return queue.Errorf(queue.Invalid, "store %s: not an SQLite file; give the path of a store, or of a new file", path)
	}
	return nil
}

// openConn opens a connection with its settings.
func (s *Store) openConn(flags sqlite.OpenFlags, settings ...string) (*sqlite.Conn, error) {
	c, err := sqlite.OpenConn(s.path, flags)
	if err != nil {
		return nil, err
	}
	c.SetBusyTimeout(busyTimeout)
	for _, p := range settings {
		if err := sqlitex.ExecuteTransient(c, "PRAGMA "+p, nil); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (s *Store) openWriter() (*sqlite.Conn, error) {
	return s.openConn(sqlite.OpenReadWrite|sqlite.OpenCreate,
		fmt.Sprintf("page_size = %d", pageSize), "journal_mode = WAL", "synchronous = FULL", "temp_store = MEMORY",
		fmt.Sprintf("cache_size = -%d", writerCache), fmt.Sprintf("wal_autocheckpoint = %d", checkpointPages),
		fmt.Sprintf("journal_size_limit = %d", 2*checkpointPages*pageSize), fmt.Sprintf("max_page_count = %d", s.maxPages()))
}

func (s *Store) openReader() (*sqlite.Conn, error) {
	return s.openConn(sqlite.OpenReadWrite, "query_only = 1", "temp_store = MEMORY", fmt.Sprintf("cache_size = -%d", readerCache))
}

// identify checks, before anything is changed, that the file is a store that
// this version knows, or empty. It gives the schema's version.
func (s *Store) identify() (version int, err error) {
	c, err := s.openConn(sqlite.OpenReadWrite | sqlite.OpenCreate)
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := c.Close(); err == nil {
			err = e
		}
	}()
	var app, tables int
	for _, q := range []struct {
		sql string
		to  *int
	}{{`PRAGMA application_id`, &app}, {`PRAGMA user_version`, &version}, {`SELECT count(*) FROM sqlite_schema`, &tables}} {
		if _, err := one(c, func(st *sqlite.Stmt) { *q.to = st.ColumnInt(0) }, q.sql); err != nil {
			return 0, err
		}
	}
	switch {
	case app != applicationID && tables > 0:
		return 0, queue.Errorf(queue.Invalid, "store %s: an SQLite file of another program; give the path of a store, or of a new file", s.path)
	case app != applicationID:
		version = 0
	}
	return version, nil
}

// migrate applies the migrations that the file hasn't seen, each in a
// transaction of its own.
func (s *Store) migrate(ctx context.Context, c *sqlite.Conn, version int, files []string) error {
	for number := version + 1; number <= len(files); number++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := files[number-1]
		if want := fmt.Sprintf("%03d.sql", number); filepath.Base(name) != want {
			return fmt.Errorf("migration %s is not numbered %s", name, want)
		}
		script, err := schemas.ReadFile(name)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;\n", script, applicationID, number)
		if err := sqlitex.ExecuteScript(c, text, nil); err != nil {
			return fmt.Errorf("migration %d: %w", number, err)
		}
		s.log.Info("store migrated", "path", s.path, "schema", number)
	}
	return nil
}
