package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
)

// sink takes pieces in order: the printer, or a block before it.
type sink interface{ send(piece) }

// hostWriter makes pieces of one stream of one host's output. Flush ends it.
type hostWriter interface {
	Write(p []byte) (int, error)
	flush()
}

// newHostWriter gives the writer that suits the format and the number of hosts. prefix
// is for a job of several.
func (v *View) newHostWriter(to sink, host, stream, prefix string, several bool) hostWriter {
	kind, term := toStdout, v.Out
	if stream == operator.Stderr {
		kind, term = toStderr, v.Err
	}
	switch {
	case v.Format == JSONL:
		return &lineWriter{send: func(b []byte) { to.send(piece{toStdout, outputEvent(host, stream, b)}) }}
	case !several && term.TTY:
		return &cleanWriter{to: to, kind: kind}
	case !several:
		return &rawWriter{to: to, kind: kind}
	}
	return &lineWriter{send: func(b []byte) { to.send(piece{kind, prefixed(b, prefix, term.TTY)}) }}
}

// rawWriter hands bytes on as they are.
type rawWriter struct {
	to   sink
	kind pieceKind
}

func (w *rawWriter) Write(p []byte) (int, error) {
	w.to.send(piece{w.kind, bytes.Clone(p)})
	return len(p), nil
}

func (w *rawWriter) flush() {}

// cleanWriter hands text on that is safe for a terminal.
type cleanWriter struct {
	to    sink
	kind  pieceKind
	clean safetext.Cleaner
}

func (w *cleanWriter) Write(p []byte) (int, error) {
	if b := w.clean.Append(nil, p); len(b) > 0 {
		w.to.send(piece{w.kind, b})
	}
	return len(p), nil
}

func (w *cleanWriter) flush() {
	if b := w.clean.Flush(nil); len(b) > 0 {
		w.to.send(piece{w.kind, b})
	}
}

// lineWriter hands on whole lines. A line longer than maxPiece is handed on in
// parts; the last line ends with the stream.
type lineWriter struct {
	send func([]byte)
	buf  []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), maxPiece-len(w.buf))
		w.buf = append(w.buf, p[:take]...)
		p = p[take:]
		cut := bytes.LastIndexByte(w.buf, '\n') + 1
		if cut == 0 && len(w.buf) == maxPiece {
			cut = wholeRunes(w.buf)
		}
		if cut > 0 {
			w.send(w.buf[:cut])
			w.buf = append([]byte(nil), w.buf[cut:]...)
		}
	}
	return n, nil
}

func (w *lineWriter) flush() {
	if len(w.buf) > 0 {
		w.send(w.buf)
		w.buf = nil
	}
}

// wholeRunes gives the length of b without a character that is cut at its end.
func wholeRunes(b []byte) int {
	for i := 1; i < utf8.UTFMax && i < len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

// prefixed puts prefix before each line, and ends the last.
func prefixed(lines []byte, prefix string, clean bool) []byte {
	if clean {
		var c safetext.Cleaner
		lines = c.Flush(c.Append(nil, lines))
	}
	out := make([]byte, 0, len(lines)+len(prefix)*4)
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\n"))
		out = append(append(append(out, prefix...), line...), '\n')
		lines = rest
	}
	return out
}

// Event is a line of -o jsonl while a job is watched.
type Event struct {
	Event     string         `json:"event"` // job, output, execution, progress, finished
	Job       *api.Job       `json:"job,omitempty"`
	Execution *api.Execution `json:"execution,omitempty"` // that has ended
	Host      string         `json:"host,omitempty"`
	Stream    string         `json:"stream,omitempty"`
	Data      string         `json:"data,omitempty"`     // whole lines, but for the last of the stream
	DataB64   []byte         `json:"data_b64,omitempty"` // instead, where it isn't UTF-8
}

func outputEvent(host, stream string, b []byte) []byte {
	e := Event{Event: "output", Host: host, Stream: stream}
	if utf8.Valid(b) {
		e.Data = string(b)
	} else {
		e.DataB64 = b
	}
	return encode(e)
}

// encode makes a line of JSON that is safe to show.
func encode(e Event) []byte {
	b, err := EncodeJSON(e, JSONL)
	if err != nil {
		b = fmt.Appendf(nil, "{\"event\":\"error\",\"data\":%q}\n", err.Error())
	}
	return b
}

// EncodeJSON writes v as one line for JSONL, indented for JSON, safe to show.
func EncodeJSON(v any, f Format) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if f == JSON {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return safetext.AppendJSON(nil, buf.Bytes()), nil
}
