package runner

import (
	"time"
	"unicode/utf8"

	"github.com/rexgate/rexgate/session/wire"
)

// gatherWindow is how long output is gathered after some was passed on. What
// comes after a longer silence is passed on at once.
const gatherWindow = 50 * time.Millisecond

// draft is a frame without a number.
type draft struct {
	kind FrameKind
	at   int64
	data []byte
}

// gather cuts two streams of bytes into chunks: few, soon, none with a torn
// character where the output is UTF-8, all within the output limit.
type gather struct {
	limit   int64
	kept    int64
	dropped int64
	streams [2]pending
	last    time.Time // of the last flush
	first   int       // stream whose pending bytes are older
}

type pending struct {
	data []byte
	at   int64 // when the first byte came
}

// add takes in what a stream gave, and passes on what is due. The data stays the caller's.
func (g *gather) add(kind FrameKind, data []byte, now time.Time, out []draft) []draft {
	i := int(kind - Stdout)
	p := &g.streams[i]
	data = g.cut(p, data)
	if len(data) == 0 {
		return out
	}
	if len(p.data) == 0 {
		p.at = now.UnixMilli()
		if len(g.streams[1-i].data) == 0 {
			g.first = i
		}
	}
	p.data = append(p.data, data...)
	for len(p.data) >= wire.MaxChunk {
		n := wire.MaxChunk - incomplete(p.data[:wire.MaxChunk])
		out = append(out, draft{kind, p.at, append([]byte(nil), p.data[:n]...)})
		p.data = append(p.data[:0], p.data[n:]...)
		p.at = now.UnixMilli()
	}
	if now.Sub(g.last) >= gatherWindow {
		return g.flush(now, out)
	}
	return out
}

// cut applies the output limit, at a character's boundary. After the first byte
// that is dropped, all are.
func (g *gather) cut(p *pending, data []byte) []byte {
	if g.dropped > 0 {
		g.dropped += int64(len(data))
		return nil
	}
	room := max(g.limit-g.kept, 0)
	if int64(len(data)) <= room {
		g.kept += int64(len(data))
		return data
	}
	fits := append(append([]byte(nil), p.data...), data[:room]...)
	torn := incomplete(fits)
	keep := int(room) - torn
	g.dropped = int64(len(data)) - room + int64(torn)
	g.kept += room - int64(torn)
	if keep < 0 { // the character began in what was pending
		p.data = p.data[:len(p.data)+keep]
		keep = 0
	}
	return data[:keep]
}

// flush passes on what is pending, but for the beginning of a character that
// isn't complete yet.
func (g *gather) flush(now time.Time, out []draft) []draft {
	for _, i := range [2]int{g.first, 1 - g.first} {
		p := &g.streams[i]
		n := len(p.data) - incomplete(p.data)
		if n == 0 {
			continue
		}
		out = append(out, draft{Stdout + FrameKind(i), p.at, append([]byte(nil), p.data[:n]...)})
		p.data = append(p.data[:0], p.data[n:]...)
		p.at = now.UnixMilli()
		g.last = now
	}
	return out
}

// end passes on all of it.
func (g *gather) end(now time.Time, out []draft) []draft {
	out = g.flush(now, out)
	for i := range g.streams {
		if p := &g.streams[i]; len(p.data) > 0 {
			out = append(out, draft{Stdout + FrameKind(i), p.at, p.data})
			p.data = nil
		}
	}
	return out
}

// due tells when the next flush is; ok is false if nothing waits for it.
func (g *gather) due() (at time.Time, ok bool) {
	for i := range g.streams {
		if p := &g.streams[i]; len(p.data) > incomplete(p.data) {
			return g.last.Add(gatherWindow), true
		}
	}
	return time.Time{}, false
}

// incomplete is the length of a character at the end of b that needs more bytes.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
