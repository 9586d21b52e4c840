package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A note is what passes over the control socket, either way: a kind and a
// number, nine bytes.
type note struct {
	kind byte
	num  int64
}

// The kinds of notes.
const (
	noteFrames byte = 'f' // to the agent: frames are on disk up to num
	noteExit   byte = 'x' // to the agent: the exit is on disk; num as above
	noteFull   byte = 'b' // to the agent: as noteFrames, and the script waits, since its spool is full
	noteCancel byte = 'c' // to the supervisor: end it; num = grace in milliseconds
	noteRoom   byte = 'r' // to the supervisor: num = bytes that its spool may have
)

const noteSize = 9

func writeNote(w io.Writer, n note) error {
	b := [noteSize]byte{0: n.kind}
	binary.LittleEndian.PutUint64(b[1:], uint64(n.num))
	_, err := w.Write(b[:])
	return err
}

func readNote(r io.Reader) (note, error) {
	var b [noteSize]byte
	_, err := io.ReadFull(r, b[:])
	return note{b[0], int64(binary.LittleEndian.Uint64(b[1:]))}, err
}

// ctlAddr names the socket by a descriptor of its directory, since the path of a
// Unix socket may have 108 bytes only. The directory is to be closed after use.
func ctlAddr(dir string) (*net.UnixAddr, *os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	name := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), ctlName)
	return &net.UnixAddr{Name: name, Net: "unix"}, d, nil
}

func listenCtl(dir string) (*net.UnixListener, error) {
	addr, d, err := ctlAddr(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the supervisor goes on listening
	return l, os.Chmod(filepath.Join(dir, ctlName), 0o600)
}

func dialCtl(dir string) (*net.UnixConn, error) {
	addr, d, err := ctlAddr(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	conn, err := net.DialUnix("unix", nil, addr)
	if errno, ok := errors.AsType[syscall.Errno](err); ok { // the address says nothing to anybody
		return nil, fmt.Errorf("the supervisor in %s can't be reached: %w", dir, errno)
	}
	return conn, err
}

// board is where the supervisor posts how far it is, for those who listen: each
// gets the latest, and never holds it up.
type board struct {
	mu      sync.Mutex // guards the following
	latest  note
	changed chan struct{} // closed and replaced at each post
	readers sync.WaitGroup
}

func newBoard() *board { return &board{changed: make(chan struct{})} }

func (b *board) post(n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest = n
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) read() (note, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.latest, b.changed
}

// serve accepts agents until the listener is closed. Their notes go to the
// channel; the supervisor takes from it until it exits. Notes of unknown kinds are left out.
func (b *board) serve(l net.Listener, notes chan<- note) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		b.readers.Add(1)
		go b.tell(c)
		go func() {
			defer c.Close() // here alone: a note may be unread when telling has failed
			for {
				n, err := readNote(c)
				if err != nil {
					return
				}
				if n.kind == noteCancel || n.kind == noteRoom {
					notes <- n
				}
			}
		}()
	}
}

// tell passes on what is posted, up to the exit.
func (b *board) tell(c net.Conn) {
	defer b.readers.Done()
	for {
		n, changed := b.read()
		if n.kind != 0 {
			c.SetWriteDeadline(time.Now().Add(2 * time.Second)) //nolint:errcheck // the write tells
			if writeNote(c, n) != nil || n.kind == noteExit {
				return
			}
		}
		<-changed
	}
}
