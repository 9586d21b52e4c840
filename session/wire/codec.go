package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Encode gives the JSON of one message, or an array of several or none.
// Text that isn't valid UTF-8 must be in the base64 fields. The size isn't
// bounded: see Pack.
func Encode(msgs ...Message) ([]byte, error) {
	var buf bytes.Buffer
	if len(msgs) == 1 {
		err := appendMessage(&buf, msgs[0])
		return buf.Bytes(), err
	}
	buf.WriteByte('[')
	for i, m := range msgs {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := appendMessage(&buf, m); err != nil {
			return nil, err
		}
	}
	buf.WriteByte(']')
	return buf.Bytes(), nil
}

// Pack encodes messages, in order, into few frames of about target bytes and
// MaxMessages at most. A message larger than target has a frame of its own. It
// fails if a message is larger than MaxFrame.
func Pack(target int, msgs ...Message) ([][]byte, error) {
	var (
		frames [][]byte
		buf    bytes.Buffer
		count  int
	)
	flush := func() {
		if count == 0 {
			return
		}
		frame := bytes.Clone(buf.Bytes())
		if count == 1 {
			frame = frame[1:]
		} else {
			frame = append(frame, ']')
		}
		frames = append(frames, frame)
	}
	for _, m := range msgs {
		start := buf.Len()
		if start == 0 {
			buf.WriteByte('[')
		} else {
			buf.WriteByte(',')
		}
		if err := appendMessage(&buf, m); err != nil {
			return nil, err
		}
		if n := buf.Len() - start; n > MaxFrame {
			return nil, fmt.Errorf("wire: %s of %d bytes, at most %d", m.Type(), n, MaxFrame)
		}
		if count > 0 && (buf.Len()+1 > min(target, MaxFrame) || count == MaxMessages) {
			last := bytes.Clone(buf.Bytes()[start+1:])
			buf.Truncate(start)
			flush()
			buf.Reset()
			buf.WriteByte('[')
			buf.Write(last)
			count = 0
		}
		count++
	}
	flush()
	return frames, nil
}

// appendMessage writes m with its type first, where Decode looks for it.
func appendMessage(buf *bytes.Buffer, m Message) error {
	buf.WriteString(`{"type":"`)
	buf.WriteString(string(m.Type()))
	buf.WriteByte('"')
	start := buf.Len()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // scripts are full of <, > and &
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("wire: encode %s: %w", m.Type(), err)
	}
	buf.Truncate(buf.Len() - 1) // the encoder's newline
	if b := buf.Bytes(); len(b)-start > 2 {
		b[start] = ',' // for the brace
	} else {
		buf.Truncate(start)
		buf.WriteByte('}')
	}
	return nil
}

// Decode reads a message or an array of messages. Unknown types are left out.
// An error means that the frame is malformed, and says where.
func Decode(frame []byte) ([]Message, error) {
	if len(frame) > MaxFrame {
		return nil, fmt.Errorf("wire: frame of %d bytes, at most %d", len(frame), MaxFrame)
	}
	if !utf8.Valid(frame) { // JSON would be read with its bytes replaced
		return nil, fmt.Errorf("wire: frame is not UTF-8")
	}
	frame = bytes.TrimLeft(frame, " \t\r\n")
	if len(frame) == 0 || frame[0] != '[' {
		m, err := decodeOne(frame)
		if err != nil {
			return nil, fmt.Errorf("wire: %w", err)
		}
		if m == nil {
			return nil, nil
		}
		return []Message{m}, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(frame, &parts); err != nil {
		return nil, fmt.Errorf("wire: not a JSON array of messages: %w", err)
	}
	if len(parts) > MaxMessages {
		return nil, fmt.Errorf("wire: %d messages in a frame, at most %d", len(parts), MaxMessages)
	}
	msgs := make([]Message, 0, len(parts))
	for i, p := range parts {
		m, err := decodeOne(p)
		if err != nil {
			return nil, fmt.Errorf("wire: message %d: %w", i, err)
		}
		if m != nil {
			msgs = append(msgs, m)
		}
	}
	return msgs, nil
}

func decodeOne(b []byte) (Message, error) {
	t, err := typeOf(b)
	if err != nil {
		return nil, err
	}
	m := newMessage(t)
	if m == nil {
		return nil, nil
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if v, ok := m.(interface{ validate() error }); ok {
		if err := v.validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
	}
	return m, nil
}

// typeOf reads the type. Encode puts it first, which saves reading the message
// twice; wherever it stands, one of a known type is read again as JSON in whole.
func typeOf(b []byte) (Type, error) {
	if rest, ok := bytes.CutPrefix(b, []byte(`{"type":"`)); ok {
		if i := bytes.IndexAny(rest, `"\`); i >= 0 && rest[i] == '"' {
			if t := Type(rest[:i]); newMessage(t) != nil {
				return t, nil
			}
		}
	}
	var head struct {
		Type *Type `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return "", err
	}
	if head.Type == nil {
		return "", fmt.Errorf(`no "type"`)
	}
	return *head.Type, nil
}

func newMessage(t Type) Message {
	switch t {
	case TypeWelcome:
		return new(Welcome)
	case TypeJob:
		return new(Job)
	case TypeAck:
		return new(Ack)
	case TypeCancel:
		return new(Cancel)
	case TypeCredit:
		return new(Credit)
	case TypeDrain:
		return new(Drain)
	case TypeHello:
		return new(Hello)
	case TypeTake:
		return new(Take)
	case TypeAccepted:
		return new(Accepted)
	case TypeRejected:
		return new(Rejected)
	case TypeStarted:
		return new(Started)
	case TypeOutput:
		return new(Output)
	case TypeGap:
		return new(Gap)
	case TypeFinished:
		return new(Finished)
	}
	return nil
}
