package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Encode gives the JSON of one message, or an array of several.
// Text that isn't valid UTF-8 must be in the base64 fields.
func Encode(msgs ...Message) ([]byte, error) {
	if len(msgs) == 1 {
		return encodeOne(msgs[0])
	}
	parts := make([]json.RawMessage, len(msgs))
	for i, m := range msgs {
		b, err := encodeOne(m)
		if err != nil {
			return nil, err
		}
		parts[i] = b
	}
	return json.Marshal(parts)
}

func encodeOne(m Message) ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("wire: encode %s: %w", m.Type(), err)
	}
	head := `{"type":"` + string(m.Type()) + `"`
	if len(b) > 2 { // not {}
		head += ","
	}
	return append([]byte(head), b[1:]...), nil
}

// Decode reads a message or an array of messages. Unknown types are left out.
func Decode(frame []byte) ([]Message, error) {
	if len(frame) > MaxFrame {
		return nil, fmt.Errorf("wire: frame of %d bytes, at most %d", len(frame), MaxFrame)
	}
	frame = bytes.TrimLeft(frame, " \t\r\n")
	var parts []json.RawMessage
	if len(frame) > 0 && frame[0] == '[' {
		if err := json.Unmarshal(frame, &parts); err != nil {
			return nil, fmt.Errorf("wire: not a JSON array of messages: %w", err)
		}
		if len(parts) > MaxMessages {
			return nil, fmt.Errorf("wire: %d messages in a frame, at most %d", len(parts), MaxMessages)
		}
	} else {
		parts = []json.RawMessage{frame}
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
	var head struct {
		Type *Type `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, err
	}
	if head.Type == nil {
		return nil, fmt.Errorf(`no "type"`)
	}
	m := newMessage(*head.Type)
	if m == nil {
		return nil, nil
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", *head.Type, err)
	}
	if v, ok := m.(interface{ validate() error }); ok {
		if err := v.validate(); err != nil {
			return nil, fmt.Errorf("%s: %w", *head.Type, err)
		}
	}
	return m, nil
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
