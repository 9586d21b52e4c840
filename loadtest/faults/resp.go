package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// readFrame reads one whole reply of Redis' protocol (RESP 2 or 3), and appends its bytes to b.
func readFrame(r *bufio.Reader, b []byte, depth int) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	b = append(b, line...)
	if err != nil {
		return b, err
	}
	if depth > 8 {
		return b, errors.New("a reply too deep")
	}
	head := strings.TrimRight(string(line), "\r\n")
	if head == "" {
		return b, errors.New("not RESP")
	}
	n := 0
	switch head[0] {
	case '$', '=', '!', '*', '>', '~', '%':
		if n, err = strconv.Atoi(head[1:]); err != nil || n < 0 {
			return b, err // a null has nothing behind it
		}
	}
	switch head[0] {
	case '$', '=', '!':
		at := len(b)
		b = append(b, make([]byte, n+2)...)
		_, err := io.ReadFull(r, b[at:])
		return b, err
	case '%':
		n *= 2
	}
	for range n {
		if b, err = readFrame(r, b, depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// isHint tells whether a frame is a message of a channel.
func isHint(frame []byte) bool {
	return bytes.Contains(frame[:min(len(frame), 32)], []byte("\r\nsmessage\r\n"))
}

// redisDo does one command at a Redis.
func redisDo(addr string, args ...string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var cmd strings.Builder
	fmt.Fprintf(&cmd, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&cmd, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, cmd.String()); err != nil {
		return "", err
	}
	b, err := readFrame(bufio.NewReader(c), nil, 0)
	if err == nil && len(b) > 0 && b[0] == '-' {
		err = errors.New(strings.TrimSpace(string(b)))
	}
	return string(b), err
}
