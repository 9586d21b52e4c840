package sqlitequeue

import (
	"errors"
	"io/fs"
	"os"
)

// guard sees whether the store's files are still those that were opened. SQLite goes on with files that were removed, or
// replaced by a copy, and what is then acknowledged is gone with the process; a file that was cut is
// damaged further by every write.
type guard struct {
	db, wal os.FileInfo // when they were opened
	size    int64       // of the database, which never shrinks
}

// errFiles is what is wrong with the files, for explain.
type errFiles struct{ text string }

func (e *errFiles) Error() string { return e.text }

func newGuard(path string) (*guard, error) {
	db, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	wal, err := os.Stat(path + "-wal")
	if err != nil {
		return nil, err
	}
	return &guard{db: db, wal: wal, size: db.Size()}, nil
}

// check gives an error if the files are others, or were cut; it takes two microseconds.
func (g *guard) check(path string) error {
	db, err := stat(path, g.db)
	if err != nil {
		return err
	}
	if db.Size() < g.size {
		return &errFiles{"the file was cut under the running store; restore it from a backup, and restart"}
	}
	g.size = db.Size()
	_, err = stat(path+"-wal", g.wal)
	return err
}

func stat(path string, opened os.FileInfo) (os.FileInfo, error) {
	i, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &errFiles{path + " was removed under the running store; put it back, or restore both files from a backup and restart"}
	case err != nil:
		return nil, err
	case !os.SameFile(i, opened):
		return nil, &errFiles{path + " was replaced under the running store; put the file back that was there, or restart"}
	}
	return i, nil
}
