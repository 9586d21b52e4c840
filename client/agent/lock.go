package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked says that another agent has the state directory.
var ErrLocked = errors.New("another agent runs on the state directory")

const (
	// lockPatience is how long another holder is waited for: a process that an agent was forking when it was killed
	// holds its lock for a moment longer.
	lockPatience = time.Second
	lockPause    = 10 * time.Millisecond
)

// Lock makes the caller the only agent on a state directory, until unlock is
// called or the process ends. Another one that holds it is ErrLocked (with errors.Is), after a second.
func Lock(dir string) (unlock func() error, err error) {
	for begin := time.Now(); ; time.Sleep(lockPause) {
		if unlock, err = lock(dir, os.O_CREATE); !errors.Is(err, ErrLocked) || time.Since(begin) > lockPatience {
			return unlock, err
		}
	}
}

// Locked tells whether an agent has the state directory now. It leaves nothing there.
func Locked(dir string) (bool, error) {
	unlock, err := lock(dir, 0)
	switch {
	case errors.Is(err, ErrLocked):
		return true, nil
	case errors.Is(err, fs.ErrNotExist): // no agent ever ran here
		return false, nil
	case err != nil:
		return false, err
	}
	return false, unlock()
}

func lock(dir string, create int) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), create|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w %s", ErrLocked, dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
