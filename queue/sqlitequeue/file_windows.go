package sqlitequeue

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock for the life of the returned file: it is opened so
// that nobody else can open it.
func lockFile(path string) (f *os.File, taken bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		const sharingViolation = syscall.Errno(32)
		return nil, errors.Is(err, sharingViolation), err
	}
	return os.NewFile(uintptr(h), path), false, nil
}

// syncDir does nothing: Windows keeps names by itself.
func syncDir(string) error { return nil }
