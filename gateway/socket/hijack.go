package socket

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"net/http"
	"time"
)

// Sizes of what a connection holds for as long as it lives: net/http's buffers of 4 KiB
// each would be most of what an idle one takes. The reader needs no room but for the
// header of a frame, since what it has no room for it reads at its destination, and costs one more
// call of the kernel for a frame. The writer's must hold a whole header; see stream.
const (
	readBuffer  = 16
	writeBuffer = 16
)

// hijacker is a ResponseWriter whose connection is a stream.
type hijacker struct {
	http.ResponseWriter
	writeTimeout time.Duration
	stream       *stream // after Hijack
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, nil, err
	}
	early, _ := brw.Reader.Peek(brw.Reader.Buffered())
	h.stream = &stream{Conn: conn, early: bytes.Clone(early), writeTimeout: h.writeTimeout}
	return h.stream, bufio.NewReadWriter(bufio.NewReaderSize(h.stream, readBuffer), bufio.NewWriterSize(h.stream, writeBuffer)), nil
}

// stream is a connection that carries frames, written through a buffer of next to nothing:
// what comes in pieces leaves as whole frames, of which only those on their way take
// memory. websocket.Conn writes one frame after another, so that nothing is guarded here.
type stream struct {
	net.Conn
	early []byte // what came with the request; read before all else

	frame []byte // the part of a frame that came
	left  int    // bytes of the frame under way that haven't come

	writeTimeout time.Duration
	deadline     time.Time // for writes, as set
}

// maxGather is the largest frame that is gathered. Larger ones leave in two parts.
const maxGather = 8 << 10

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		return n, nil
	}
	return s.Conn.Read(p)
}

// Write takes a piece of a frame, the first with the header. An error may be of pieces
// before. A frame is given up after writeTimeout at the earliest and half as much again at
// the latest: moving the deadline for each frame took 3 % of a job's processor time.
func (s *stream) Write(p []byte) (int, error) {
	if s.left == 0 {
		size := frameSize(p)
		s.left = size
		if size > len(p) && size <= maxGather {
			s.frame = make([]byte, 0, size)
		}
	}
	s.left -= len(p)
	out := p
	if s.frame != nil {
		s.frame = append(s.frame, p...)
		if s.left > 0 {
			return len(p), nil
		}
		out, s.frame = s.frame, nil
	}
	if now := time.Now(); s.deadline.Sub(now) < s.writeTimeout {
		s.deadline = now.Add(s.writeTimeout + s.writeTimeout/2)
		if err := s.Conn.SetWriteDeadline(s.deadline); err != nil {
			return 0, err
		}
	}
	if n, err := s.Conn.Write(out); err != nil {
		return min(n, len(p)), err
	}
	return len(p), nil
}

// frameSize reads the size of a frame, with its header, from its beginning. A server's
// frames aren't masked.
func frameSize(p []byte) int {
	switch n := int(p[1] & 0x7f); n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(p[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(p[2:]))
	default:
		return 2 + n
	}
}
