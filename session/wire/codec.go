package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Encode gives the JSON of one message, or an array of several or none.
// Text that isn't valid UTF-8 must be in the base64 fields. The size isn't
// bounded: see Pack.
func Encode(msgs ...Message) ([]byte, error) {
	if len(msgs) == 1 {
		return appendMessage(make([]byte, 0, usual), msgs[0])
	}
	b := append(make([]byte, 0, usual), '[')
	for i, m := range msgs {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendMessage(b, m); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// Pack encodes messages, in order, into few frames of about target bytes and
// MaxMessages at most. A message larger than target has a frame of its own. It
// fails if a message is larger than MaxFrame.
func Pack(target int, msgs ...Message) (frames [][]byte, err error) {
	frame := make([]byte, 0, usual) // with a bracket before, or a comma before each but the first
	count := 0
	flush := func() {
		if count == 1 {
			frames = append(frames, frame[1:])
		} else if count > 1 {
			frames = append(frames, append(frame, ']'))
		}
	}
	for _, m := range msgs {
		start := len(frame)
		if start == 0 {
			frame = append(frame, '[')
		} else {
			frame = append(frame, ',')
		}
		if frame, err = appendMessage(frame, m); err != nil {
			return nil, err
		}
		if n := len(frame) - start; n > MaxFrame {
			return nil, fmt.Errorf("wire: %s of %d bytes, at most %d", m.Type(), n, MaxFrame)
		}
		if count > 0 && (len(frame)+1 > min(target, MaxFrame) || count == MaxMessages) {
			next := append([]byte{'['}, frame[start+1:]...)
			frame = frame[:start]
			flush()
			frame, count = next, 0
		}
		count++
	}
	flush()
	return frames, nil
}

// usual is the room that most frames are content with.
const usual = 192

// appendMessage writes m with its type first, where Decode looks for it.
func appendMessage(b []byte, m Message) ([]byte, error) {
	if a, ok := m.(*Ack); ok && plainText(a.Execution) && plainText(string(a.Verdict)) && plainText(a.Reason) && plainText(a.Token) {
		return a.append(b), nil
	}
	b = append(append(append(b, `{"type":"`...), m.Type()...), '"')
	start := len(b)
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false) // scripts are full of <, > and &
	if err := enc.Encode(m); err != nil {
		return nil, fmt.Errorf("wire: encode %s: %w", m.Type(), err)
	}
	b = buf.Bytes()
	b = b[:len(b)-1] // the encoder's newline
	if len(b)-start == 2 {
		return append(b[:start], '}'), nil
	}
	b[start] = ',' // for the brace
	return b, nil
}

// append writes an ack as encoding/json would. Two of the three frames that a gateway sends for
// a job are acks.
func (m *Ack) append(b []byte) []byte {
	b = append(append(b, `{"type":"ack","execution":"`...), m.Execution...)
	b = strconv.AppendInt(append(b, `","stored":`...), m.Stored, 10)
	if m.Verdict != "" {
		b = append(append(append(b, `,"verdict":"`...), m.Verdict...), '"')
	}
	if m.Reason != "" {
		b = append(append(append(b, `,"reason":"`...), m.Reason...), '"')
	}
	if m.Token != "" {
		b = append(append(append(b, `,"token":"`...), m.Token...), '"')
	}
	return append(b, '}')
}

// plainText tells whether a string stands in JSON as it is.
func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Decode reads a message or an array of messages. Unknown types are left out.
// An error means that the frame is malformed, and says where.
func Decode(frame []byte) ([]Message, error) {
	if msgs, ok := DecodePlain(frame); ok {
		return msgs, nil
	}
	return decodeJSON(frame)
}

func decodeJSON(frame []byte) ([]Message, error) {
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
