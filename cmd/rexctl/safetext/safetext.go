// Package safetext makes text that comes from hosts safe to show on a terminal.
//
// A host's name, reason, label, fact and output may hold anything: escape sequences
// that repaint the screen, set its title or answer as if typed, characters that
// reverse the reading order, bytes that aren't UTF-8. What isn't a visible character
// or a space is shown as an escape like \x1b or \u202e instead. The result
// is valid UTF-8. Backslashes are left alone: the aim is safety, not a way back.
package safetext

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

const (
	zeroWidthNonJoiner = '\u200c' // these two belong to the spelling of
	zeroWidthJoiner    = '\u200d' // several scripts and to emoji
)

func visible(r rune) bool {
	return unicode.IsGraphic(r) || r == zeroWidthNonJoiner || r == zeroWidthJoiner
}

// Line makes one line of s: line ends and tabs are escaped too.
func Line(s string) string {
	clean := true
	for i, r := range s {
		if !visible(r) || r == utf8.RuneError && badAt(s, i) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var dst []byte
	for i, r := range s {
		if r == utf8.RuneError && badAt(s, i) {
			dst = appendByte(dst, s[i])
			continue
		}
		dst = appendRune(dst, r)
	}
	return string(dst)
}

func badAt(s string, i int) bool {
	_, size := utf8.DecodeRuneInString(s[i:])
	return size == 1
}

func appendRune(dst []byte, r rune) []byte {
	switch {
	case visible(r):
		return utf8.AppendRune(dst, r)
	case r < utf8.RuneSelf:
		return appendByte(dst, byte(r))
	case r > 0xffff:
		return fmt.Appendf(dst, `\U%08x`, r)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}

func appendByte(dst []byte, b byte) []byte { return fmt.Appendf(dst, `\x%02x`, b) }

// Cleaner cleans a stream of output that arrives in pieces. Line ends and tabs stay;
// a carriage return stays out where it is part of a line end, and is escaped elsewhere, as it
// would overwrite what is before it. The zero value is ready.
type Cleaner struct {
	held []byte // an unfinished character, or a carriage return: at most 3 bytes
}

// Append appends the clean text of p. Bytes whose meaning depends on what follows are held back.
func (c *Cleaner) Append(dst, p []byte) []byte {
	if len(c.held) > 0 {
		p = append(c.held, p...)
		c.held = nil
	}
	for len(p) > 0 {
		switch b := p[0]; {
		case b == '\n' || b == '\t':
			dst, p = append(dst, b), p[1:]
			continue
		case b == '\r':
			if len(p) == 1 {
				c.held = []byte{b}
				return dst
			}
			if p[1] != '\n' {
				dst = appendByte(dst, b)
			}
			p = p[1:]
			continue
		}
		if !utf8.FullRune(p) {
			c.held = append([]byte(nil), p...)
			return dst
		}
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			dst = appendByte(dst, p[0])
		} else {
			dst = appendRune(dst, r)
		}
		p = p[size:]
	}
	return dst
}

// Flush appends what was held back, at the end of the stream.
func (c *Cleaner) Flush(dst []byte) []byte {
	for _, b := range c.held {
		dst = appendByte(dst, b)
	}
	c.held = nil
	return dst
}

// AppendJSON appends JSON text with everything invisible in its strings as \u escapes,
// which mean the same to a program.
func AppendJSON(dst, json []byte) []byte {
	for len(json) > 0 {
		r, size := utf8.DecodeRune(json)
		switch {
		case visible(r) || r == '\n' || r == '\t':
			dst = append(dst, json[:size]...)
		case r > 0xffff:
			hi, lo := surrogates(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		json = json[size:]
	}
	return dst
}

func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
