package socket

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"time"
)

// Sizes of a connection's own buffers. net/http's of 4 KiB each would be most of
// what an idle connection takes. A frame larger than these passes by the buffer; a
// message without a script usually fits.
const (
	readBuffer  = 512
	writeBuffer = 1024
)

// hijacker is a ResponseWriter whose connection comes with small buffers.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn // after Hijack
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
	// What came early must be within the new buffer: websocket.Accept takes what
	// is buffered there, and resets the rest.
	early, _ := brw.Reader.Peek(brw.Reader.Buffered())
	br := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn), max(readBuffer, len(early)))
	br.Peek(len(early))
	h.conn = conn
	return conn, bufio.NewReadWriter(br, bufio.NewWriterSize(conn, writeBuffer)), nil
}
