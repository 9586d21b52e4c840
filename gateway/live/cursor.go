package live

import (
	"strconv"
	"strings"
)

// Position is where a watch of a topic stands. Of jobs and of a job it is a number of the
// values that one gateway made (Epoch, Seq); of an execution it is what was
// delivered of its output, which any gateway can go on from.
type Position struct {
	Epoch  string // "" = of an execution
	Seq    int64  // of the last update
	Offset int64  // behind the last byte
	Last   int64  // all chunks with a number up to it were delivered
}

// Cursor holds the positions of a watch's topics.
type Cursor []Place

// Place is a topic's position.
type Place struct {
	Topic Topic
	Position
}

// MaxCursor bounds the text of a cursor.
const MaxCursor = 1024

// maxNumber is what JavaScript counts exactly.
const maxNumber = 1<<53 - 1

// At gives the position of a topic.
func (c Cursor) At(t Topic) (Position, bool) {
	for _, p := range c {
		if p.Topic == t {
			return p.Position, true
		}
	}
	return Position{}, false
}

// String writes a cursor of characters that need no escape in a query: places joined by
// commas, each a topic, a tilde, and numbers joined by dots.
func (c Cursor) String() string {
	var b strings.Builder
	for i, p := range c {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.Topic.String())
		b.WriteByte('~')
		if p.Topic.Host == "" {
			b.WriteString(p.Epoch + "." + strconv.FormatInt(p.Seq, 10))
		} else {
			b.WriteString(strconv.FormatInt(p.Seq, 10) + "." + strconv.FormatInt(p.Offset, 10) + "." + strconv.FormatInt(p.Last, 10))
		}
	}
	return b.String()
}

// ParseCursor reads a cursor. What can't be read is left out, since the cursor may be
// another version's: the topic then begins anew.
func ParseCursor(text string) Cursor {
	if text == "" || len(text) > MaxCursor {
		return nil
	}
	var c Cursor
	for part := range strings.SplitSeq(text, ",") {
		name, place, ok := strings.Cut(part, "~")
		if !ok {
			continue
		}
		t, err := ParseTopic(name)
		if _, twice := c.At(t); err != nil || twice {
			continue
		}
		if p, ok := parsePosition(t, strings.Split(place, ".")); ok {
			c = append(c, Place{t, p})
		}
	}
	return c
}

func parsePosition(t Topic, parts []string) (p Position, ok bool) {
	if t.Host == "" {
		if len(parts) != 2 || !isEpoch(parts[0]) {
			return p, false
		}
		p.Epoch = parts[0]
		ok = numbers(parts[1:], &p.Seq)
	} else {
		ok = numbers(parts, &p.Seq, &p.Offset, &p.Last)
	}
	return p, ok && p.Seq > 0
}

// numbers reads numbers as they are written, and in no other way.
func numbers(parts []string, to ...*int64) bool {
	if len(parts) != len(to) {
		return false
	}
	for i, s := range parts {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n > maxNumber || strconv.FormatInt(n, 10) != s {
			return false
		}
		*to[i] = n
	}
	return true
}

func isEpoch(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}
