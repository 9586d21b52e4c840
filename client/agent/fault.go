package agent

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// passing tells whether an error is of the host's state now, and says nothing of what was asked for.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// plain puts an error into words for operators, who see it as the reason of a result.
func plain(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many files are open on the host"
	case errors.Is(err, syscall.ENOMEM):
		return "the host is out of memory"
	case errors.Is(err, syscall.EAGAIN):
		return "the host has too many processes"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "the disk of the agent's state directory is full"
	case errors.Is(err, syscall.EROFS):
		return "the agent's state directory is read-only"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "its supervisor didn't answer in time"
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}
