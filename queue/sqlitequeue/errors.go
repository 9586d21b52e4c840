package sqlitequeue

import (
	"context"
	"errors"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/rexgate/rexgate/queue"
)

// retryAfter is when a caller may try again while the disk is full or failing.
const retryAfter = 5 * time.Second

// domain gives an error as a *queue.Error: what isn't one yet is a failure of
// the file or its disk, or of a context.
func (s *Store) domain(err error) error {
	var qe *queue.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &qe):
		return qe
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return queue.Errorf(queue.Unavailable, "store %s: given up waiting: %w", s.path, err)
	}
	e := queue.Errorf(queue.Unavailable, "store %s: %s: %w", s.path, explain(err), err)
	e.Retry = retryAfter
	return e
}

func explain(err error) string {
	var files *errFiles
	if errors.As(err, &files) {
		return "nothing is written any more"
	}
	switch code := sqlite.ErrCode(err); {
	case code.ToPrimary() == sqlite.ResultFull:
		return "the disk or the file's bound is full; make room, then it goes on by itself"
	case code.ToPrimary() == sqlite.ResultIOErr:
		return "the disk failed"
	case code.ToPrimary() == sqlite.ResultCorrupt || code.ToPrimary() == sqlite.ResultNotADB:
		return "the file is damaged; restore it from a backup"
	}
	return "the database failed"
}

// broken tells whether the connection should be opened anew after an error.
func broken(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultIOErr, sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultCantOpen, sqlite.ResultProtocol, sqlite.ResultNoMem, sqlite.ResultReadOnly:
		return true
	}
	return false
}

func (s *Store) closedError() error {
	return queue.Errorf(queue.Unavailable, "store %s: closed", s.path)
}
