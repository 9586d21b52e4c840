package runner

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// pipeRoom is what a pipe holds: no more is read once it was told to end, or a
// daemon that never stops writing would keep the supervisor.
const pipeRoom = 64 << 10

// readPipe passes on what a pipe gives, until its end or until closePipes.
func readPipe(kind FrameKind, r *os.File, out chan<- chunk) {
	defer r.Close()
	back := make(chan []byte, 1)
	buf := make([]byte, pipeRead)
	left := pipeRoom
	for {
		n, err := r.Read(buf)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && left > 0 {
			n, err = readLeft(r, buf)
			left -= n
		}
		if n > 0 {
			out <- chunk{kind, buf[:n], back}
			buf = <-back
		}
		if err != nil {
			out <- chunk{kind: kind}
			return
		}
	}
}

// readLeft takes what is in the pipe now, without waiting for more.
func readLeft(r *os.File, buf []byte) (n int, err error) {
	raw, err := r.SyscallConn()
	if err != nil {
		return 0, err
	}
	// Read is refused beyond the deadline, Control isn't. The descriptor is non-blocking.
	err2 := raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), buf) })
	if err = errors.Join(err2, err); err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// closePipes ends the reading of pipes that outlived the script.
func (s *supervisor) closePipes() {
	if s.closed {
		return
	}
	s.closed = true
	for _, r := range s.pipes {
		r.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // one that is closed has ended
	}
}
