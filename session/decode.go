package session

import (
	"bytes"
	"errors"
	"io"

	"github.com/rexgate/rexgate/session/wire"
)

// Frames that aren't plain are decoded by a goroutine per processor rather than by the readers:
// encoding/json makes a stack grow for good, which of a socket's idle memory would be
// a third.

// undecoded is a frame with a place for what it holds.
type undecoded struct {
	frame []byte
	into  chan decoded // has room for one
}

type decoded struct {
	msgs []wire.Message
	err  error
}

var errOver = errors.New("the gateway has stopped")

// decode has a frame decoded, in turn with others.
func (h *Hub) decode(frame []byte) ([]wire.Message, error) {
	u := undecoded{frame, make(chan decoded, 1)}
	select {
	case h.frames <- u:
	case <-h.over:
		return nil, errOver
	}
	d := <-u.into
	return d.msgs, d.err
}

// decodeFrames runs until over is closed.
func (h *Hub) decodeFrames() {
	for {
		select {
		case u := <-h.frames:
			msgs, err := wire.Decode(u.frame)
			u.into <- decoded{msgs, err}
		case <-h.over:
			return
		}
	}
}

// frameReader is a buffer for a frame that is being read; idle connections have none.
type frameReader struct {
	bytes.Buffer
	limited io.LimitedReader
}

// read gives what r has, or one byte more than a frame may have. It is valid until the next
// read.
func (f *frameReader) read(r io.Reader) ([]byte, error) {
	f.Reset()
	f.limited = io.LimitedReader{R: r, N: wire.MaxFrame + 1}
	_, err := f.ReadFrom(&f.limited)
	f.limited.R = nil
	return f.Bytes(), err
}
