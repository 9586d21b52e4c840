package wire

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// plainTypes are those that DecodePlain reads.
var plainTypes = []Type{TypeAck, TypeAccepted, TypeStarted, TypeOutput, TypeFinished}

// TestPlainIsWhatEncodeGives checks that the plain form is what is sent, and read alike.
func TestPlainIsWhatEncodeGives(t *testing.T) {
	var all []Message
	for _, m := range samples() {
		if !slices.Contains(plainTypes, m.Type()) {
			continue
		}
		if o, ok := m.(*Output); ok && o.Data != nil {
			continue
		}
		frame, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := DecodePlain(frame)
		if !ok || len(got) != 1 || !reflect.DeepEqual(got[0], m) {
			t.Errorf("%s came back as %+v, %v", frame, got, ok)
		}
		all = append(all, m)
	}
	for _, text := range []string{"a\nb\tc\"d\\e/f\r", "<&>", "grüße", strings.Repeat("\\", 100)} {
		all = append(all, &Output{Execution: x1, Seq: 3, Stream: Stderr, Text: text})
	}
	frame, err := Encode(all...)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := DecodePlain(frame)
	if !ok || !reflect.DeepEqual(got, all) {
		t.Errorf("%s came back as %+v, %v", frame, got, ok)
	}
}

// TestOthersAreNotPlain has frames that encoding/json must judge.
func TestOthersAreNotPlain(t *testing.T) {
	const s = `{"type":"started","execution":"` + x1 + `","seq":2,"at":3`
	for _, frame := range []string{
		``, `[]`, `{}`, `[`, s, s + `}]`, `[` + s + `}`, s + `} `, ` ` + s + `}`, `[` + s + `},]`, `[` + s + `}` + s + `}]`,
		`{"seq":2,"type":"started","execution":"` + x1 + `"}`, `{"type":"started"}`,
		s + `,"type":"ack"}`, s + `,"seq":2}`, s + `,"at":4}`, s + `,"later":1}`, s + `,"At":1}`, s + `,"token":"t"}`,
		strings.Replace(s, ":2", ":02", 1) + `}`, strings.Replace(s, ":2", ":2.0", 1) + `}`, strings.Replace(s, ":2", ":2e0", 1) + `}`,
		strings.Replace(s, ":2", ":null", 1) + `}`, strings.Replace(s, ":2", `:"2"`, 1) + `}`, strings.Replace(s, ":2", ":-", 1) + `}`,
		strings.Replace(s, ":2", ":1", 1) + `}`, strings.Replace(s, ":2", ":1000000000000000000", 1) + `}`, strings.Replace(s, ":2", ": 2", 1) + `}`,
		strings.Replace(s, "web", `w\u0065b`, 1) + `}`, strings.Replace(s, "web", "w\"b", 1) + `}`,
		`{"type":"output","execution":"` + x1 + `","seq":2,"at":1,"stream":"stdout","text":"\u001b"}`,
		`{"type":"output","execution":"` + x1 + `","seq":2,"at":1,"stream":"stdout","text":"` + "\n" + `"}`,
		`{"type":"output","execution":"` + x1 + `","seq":2,"at":1,"stream":"stdout","text":"\`,
		`{"type":"output","execution":"` + x1 + `","seq":2,"at":1,"stream":"stdin","text":"a"}`,
		`{"type":"finished","execution":"` + x1 + `","seq":2,"at":1,"outcome":"fine","exit_code":0}`,
		`[` + strings.Repeat(s+`},`, MaxMessages) + s + `}]`,
	} {
		if msgs, ok := DecodePlain([]byte(frame)); ok {
			t.Errorf("%.200s was read as %+v", frame, msgs)
		}
	}
}

// FuzzPlain holds what DecodePlain reads against encoding/json.
func FuzzPlain(f *testing.F) {
	for _, m := range samples() {
		b, _ := Encode(m)
		f.Add(b)
	}
	b, _ := Encode(samples()[2], samples()[8], samples()[10], samples()[11], samples()[14])
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		got, ok := DecodePlain(in)
		if !ok {
			return
		}
		want, err := decodeJSON(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is read as %+v; by encoding/json as %+v, %v", in, got, want, err)
		}
	})
}

// FuzzAck holds the JSON of acks against encoding/json.
func FuzzAck(f *testing.F) {
	f.Add(x1, int64(4), "go", "", "t.1")
	f.Add(x1, int64(-1), "forget", "a\"b\\<&>\u2028\x7f\xff", "")
	f.Fuzz(func(t *testing.T, x string, stored int64, verdict, reason, token string) {
		m := &Ack{Execution: x, Stored: stored, Verdict: Verdict(verdict), Reason: reason, Token: token}
		got, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Encode(&disguised{*m})
		if err != nil || string(got) != string(want) {
			t.Fatalf("%s, want %s, %v", got, want, err)
		}
	})
}

// disguised is an ack that Encode doesn't know as one.
type disguised struct{ Ack }
