package stand

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// redisTimeout bounds one exchange with Redis: a busy server answers late.
const redisTimeout = 5 * time.Second

// redisConn speaks as much RESP as INFO and CONFIG GET need: the load test shares no driver with the gateway.
type redisConn struct {
	net.Conn
	r *bufio.Reader
}

// dialRedis connects, and authenticates if there is a password.
func dialRedis(ctx context.Context, addr, password string) (*redisConn, error) {
	d := net.Dialer{Timeout: redisTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &redisConn{Conn: conn, r: bufio.NewReader(conn)}
	if password != "" {
		if _, err := c.do("AUTH", password); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return c, nil
}

// do sends a command and reads its reply: string, int64, nil, or []any of them.
func (c *redisConn) do(args ...string) (any, error) {
	if err := c.SetDeadline(time.Now().Add(redisTimeout)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	reply, err := readReply(c.r, 0)
	if err != nil {
		return nil, fmt.Errorf("redis: %s: %w", args[0], err)
	}
	return reply, nil
}

// info gives the fields of a section of INFO.
func (c *redisConn) info(section ...string) (map[string]string, error) {
	reply, err := c.do(append([]string{"INFO"}, section...)...)
	if err != nil {
		return nil, err
	}
	text, ok := reply.(string)
	if !ok {
		return nil, errors.New("redis: INFO answers something else than text")
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// Bounds of a reply.
const (
	maxReplyBytes = 1 << 20
	maxReplyItems = 1 << 10
	maxReplyDepth = 4
)

func readReply(r *bufio.Reader, depth int) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" || depth > maxReplyDepth {
		return nil, errors.New("not RESP")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("not RESP: %q", line)
	}
	switch {
	case kind == ':':
		return n, nil
	case n == -1 && (kind == '$' || kind == '*'):
		return nil, nil
	case kind == '$' && n >= 0 && n <= maxReplyBytes:
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*' && n >= 0 && n <= maxReplyItems:
		items := make([]any, n)
		for i := range items {
			if items[i], err = readReply(r, depth+1); err != nil {
				return nil, err
			}
		}
		return items, nil
	}
	return nil, fmt.Errorf("not RESP: %q", line)
}
