package wire

import (
	"math/bits"
	"unicode/utf8"
)

// Most frames are acks and events in the plain form that Encode gives them: flat objects, keys
// as they are spelled here, nothing but strings and integers. Reading those
// by encoding/json, over three passes, was 8 % of a job's processor time in a gateway, and
// made stacks grow. What follows reads nothing but that form, and whatever is in any way
// different is left to encoding/json, which stays the only judge of what is malformed.

// DecodePlain is Decode for frames of the plain form: it gives the same messages, with
// little of the stack. ok is false for all other frames, also the malformed.
func DecodePlain(frame []byte) (msgs []Message, ok bool) {
	if len(frame) > MaxFrame || !utf8.Valid(frame) {
		return nil, false
	}
	p := plain{b: frame}
	if !p.eat('[') {
		m := p.message()
		if m == nil || len(p.b) > 0 {
			return nil, false
		}
		return []Message{m}, true
	}
	for {
		m := p.message()
		if m == nil || len(msgs) == MaxMessages {
			return nil, false
		}
		msgs = append(msgs, m)
		switch {
		case p.eat(','):
		case p.eat(']') && len(p.b) == 0:
			return msgs, true
		default:
			return nil, false
		}
	}
}

// plain reads; b is what is left. Nothing after something unusual is to be used.
type plain struct {
	b         []byte
	execution string // of the message before; the next is often of the same
}

// The keys, as bits.
const (
	kExecution = 1 << iota
	kSeq
	kAt
	kToken
	kPosition
	kStored
	kVerdict
	kReason
	kStream
	kText
	kOutcome
	kExitCode
	kSignal
	kDropped
	kThrough
	kBytes
	keyCount = iota
)

// values are those of a message's keys; set says which it has.
type values struct {
	set                            uint
	execution, token, reason, text string
	signal, verdict, stream        string
	outcome                        string
	numbers                        [keyCount]int64 // by the key's place
}

func (v *values) number(key uint) int64 { return v.numbers[bits.TrailingZeros(key)] }

// message reads one; nil = it isn't plain.
func (p *plain) message() Message {
	if !p.skip(`{"type":"`) {
		return nil
	}
	t, ok := p.word()
	if !ok {
		return nil
	}
	var v values
	for !p.eat('}') {
		if !p.skip(`,"`) {
			return nil
		}
		key, ok := p.word()
		if !ok || !p.eat(':') || !p.value(string(key), &v) {
			return nil
		}
	}
	m := v.message(Type(t))
	if c, ok := m.(interface{ validate() error }); !ok || c.validate() != nil {
		return nil // Decode says why
	}
	return m
}

// value reads what belongs to a key.
func (p *plain) value(key string, v *values) (ok bool) {
	var k uint
	switch key {
	case "execution":
		v.execution, ok = p.name()
		k = kExecution
	case "seq":
		k = kSeq
	case "at":
		k = kAt
	case "token":
		v.token, ok = p.text()
		k = kToken
	case "position":
		k = kPosition
	case "stored":
		k = kStored
	case "verdict":
		v.verdict, ok = p.text()
		k = kVerdict
	case "reason":
		v.reason, ok = p.text()
		k = kReason
	case "stream":
		v.stream, ok = p.oneOf(string(Stdout), string(Stderr))
		k = kStream
	case "text":
		v.text, ok = p.text()
		k = kText
	case "outcome":
		v.outcome, ok = p.oneOf(string(Succeeded), string(Failed), string(TimedOut), string(Cancelled), string(Lost))
		k = kOutcome
	case "exit_code":
		k = kExitCode
	case "signal":
		v.signal, ok = p.text()
		k = kSignal
	case "dropped":
		k = kDropped
	case "through":
		k = kThrough
	case "bytes":
		k = kBytes
	default:
		return false
	}
	if k&(kSeq|kAt|kPosition|kStored|kExitCode|kDropped|kThrough|kBytes) != 0 {
		v.numbers[bits.TrailingZeros(k)], ok = p.integer()
	}
	twice := v.set&k != 0
	v.set |= k
	return ok && !twice
}

// only tells whether there are no keys but these.
func (v *values) only(keys uint) bool { return v.set&^(keys|kExecution) == 0 }

// message makes a message of a type that is read here; nil = it is another, or has more.
func (v *values) message(t Type) Message {
	x, seq, at := v.execution, v.number(kSeq), v.number(kAt)
	switch {
	case t == TypeAck && v.only(kStored|kVerdict|kReason|kToken):
		return &Ack{Execution: x, Stored: v.number(kStored), Verdict: Verdict(v.verdict), Reason: v.reason, Token: v.token}
	case t == TypeAccepted && v.only(kSeq|kAt|kToken|kPosition):
		return &Accepted{Execution: x, Seq: seq, At: at, Token: v.token, Position: v.number(kPosition)}
	case t == TypeStarted && v.only(kSeq|kAt):
		return &Started{Execution: x, Seq: seq, At: at}
	case t == TypeOutput && v.only(kSeq|kAt|kStream|kText):
		return &Output{Execution: x, Seq: seq, At: at, Stream: Stream(v.stream), Text: v.text}
	case t == TypeFinished && v.only(kSeq|kAt|kOutcome|kExitCode|kSignal|kReason|kDropped):
		exit := v.number(kExitCode)
		if int64(int(exit)) != exit { // where int has 32 bits
			return nil
		}
		return &Finished{Execution: x, Seq: seq, At: at, Outcome: Outcome(v.outcome), ExitCode: int(exit),
			Signal: v.signal, Reason: v.reason, Dropped: v.number(kDropped)}
	}
	return nil
}

func (p *plain) eat(c byte) bool {
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

func (p *plain) skip(s string) bool {
	if len(p.b) < len(s) || string(p.b[:len(s)]) != s {
		return false
	}
	p.b = p.b[len(s):]
	return true
}

// word reads up to a quote; there is no escape in it.
func (p *plain) word() ([]byte, bool) {
	for i, c := range p.b {
		if c == '"' {
			w := p.b[:i]
			p.b = p.b[i+1:]
			return w, true
		}
		if c == '\\' || c < ' ' {
			break
		}
	}
	return nil, false
}

// name reads an execution's id.
func (p *plain) name() (string, bool) {
	if !p.eat('"') {
		return "", false
	}
	w, ok := p.word()
	if ok && string(w) != p.execution {
		p.execution = string(w)
	}
	return p.execution, ok
}

// oneOf reads one of few words.
func (p *plain) oneOf(words ...string) (string, bool) {
	if p.eat('"') {
		if w, ok := p.word(); ok {
			for _, s := range words {
				if string(w) == s {
					return s, true
				}
			}
		}
	}
	return "", false
}

// text reads a string with the escapes of one character.
func (p *plain) text() (string, bool) {
	if !p.eat('"') {
		return "", false
	}
	n, escapes := 0, 0
	for ; n < len(p.b) && p.b[n] != '"'; n++ {
		if p.b[n] < ' ' {
			return "", false
		}
		if p.b[n] == '\\' {
			n, escapes = n+1, escapes+1
		}
	}
	if n >= len(p.b) {
		return "", false
	}
	raw := p.b[:n]
	p.b = p.b[n+1:]
	if escapes == 0 {
		return string(raw), true
	}
	out := make([]byte, 0, len(raw)-escapes)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '\\' {
			i++
			switch raw[i] {
			case '"', '\\', '/':
				c = raw[i]
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			case 'b':
				c = '\b'
			case 'f':
				c = '\f'
			default:
				return "", false
			}
		}
		out = append(out, c)
	}
	return string(out), true
}

// integer reads a whole number of up to 18 digits.
func (p *plain) integer() (n int64, ok bool) {
	minus := p.eat('-')
	i := 0
	for ; i < len(p.b) && p.b[i] >= '0' && p.b[i] <= '9'; i++ {
		if i == 18 {
			return 0, false
		}
		n = n*10 + int64(p.b[i]-'0')
	}
	if i == 0 || p.b[0] == '0' && i > 1 {
		return 0, false
	}
	if p.b = p.b[i:]; len(p.b) == 0 || p.b[0] != ',' && p.b[0] != '}' {
		return 0, false
	}
	if minus {
		n = -n
	}
	return n, true
}
