package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const x1 = "01234567890123456789abcdef.web-1"

// samples has one valid message of each type.
func samples() []Message {
	return []Message{
		&Welcome{Session: 3, N: 7, Time: 1, Ping: 25000, Dead: 60000, Credit: 4096, MaxFrame: MaxFrame,
			Executions: []Resume{{Execution: x1, Stored: 2, Verdict: VerdictGo}}},
		&Job{N: 8, Execution: x1, Token: "t", DeliverUntil: 9, Time: 2,
			Spec: Spec{Script: "echo <a> && echo \x1b[1mb", ScriptSize: 20, ScriptSHA256: "00", Lane: "default", RunTimeout: 1000}},
		&Ack{Execution: x1, Stored: 4, Verdict: VerdictForget, Reason: "unknown", Token: "t"},
		&Cancel{N: 9, Execution: x1, Grace: 10},
		&Credit{Bytes: 4096},
		&Drain{Within: 1000},
		&Hello{AgentVersion: "1", BootID: "b", Generation: "g", Position: 4, Nonce: "n", After: 2,
			Slots: map[string]int{"default": 1}, Facts: map[string]string{"os": "linux"},
			Executions: []InHand{{Execution: x1, Token: "t", Seq: 5}}},
		&Take{Hello{Generation: "g", Nonce: "n"}},
		&Accepted{Execution: x1, Seq: 1, At: 3, Token: "t", Position: 4},
		&Rejected{Execution: x1, Seq: 1, At: 3, Token: "t", Reason: "no such user"},
		&Started{Execution: x1, Seq: 2, At: 3},
		&Output{Execution: x1, Seq: 3, At: 3, Stream: Stdout, Text: "grüße\n"},
		&Output{Execution: x1, Seq: 4, At: 3, Stream: Stderr, Data: []byte{0xff, 0}},
		&Gap{Execution: x1, Seq: 5, Through: 9, At: 3, Bytes: 12},
		&Finished{Execution: x1, Seq: 10, At: 3, Outcome: Failed, ExitCode: 3, Dropped: 4},
	}
}

func TestRoundTrip(t *testing.T) {
	msgs := samples()
	for _, m := range msgs {
		b, err := Encode(m)
		if err != nil {
			t.Fatalf("%s: %v", m.Type(), err)
		}
		got, err := Decode(b)
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], m) {
			t.Errorf("%s: %s came back as %+v, %v", m.Type(), b, got, err)
		}
	}
	b, err := Encode(msgs...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil || !reflect.DeepEqual(got, msgs) {
		t.Errorf("all together came back as %+v, %v", got, err)
	}
	if b, _ := Encode(); string(b) != "[]" {
		t.Errorf("no messages are %s, want []", b)
	}
	if got, err := Decode([]byte("[]")); err != nil || len(got) != 0 {
		t.Errorf("[] is %v, %v", got, err)
	}
}

func TestDecodeIgnoresTheUnknown(t *testing.T) {
	for _, in := range []string{
		`{"type":"later","n":1}`,
		`{"type":"credit","bytes":5,"later":{"a":[1]}}`,
		`[{"type":"later"},{"bytes":5,"type":"credit"}]`,
		` {"bytes":5, "type" : "cr\u0065dit"}`,
	} {
		got, err := Decode([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if strings.Contains(in, "bytes") && (len(got) != 1 || got[0].(*Credit).Bytes != 5) {
			t.Errorf("%s: got %v", in, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	out := `{"type":"output","execution":"` + x1 + `","seq":2,"at":1,"stream":"stdout",`
	hello := `{"type":"hello","generation":"g","nonce":"n",`
	fin := `{"type":"finished","execution":"` + x1 + `","seq":2,"at":1,`
	job := `{"type":"job","n":1,"execution":"` + x1 + `","spec":{"script_size":1,"run_timeout":1,`
	many := strings.TrimSuffix(strings.Repeat(`{"type":"credit"},`, MaxMessages+1), ",")
	for name, c := range map[string]struct{ in, want string }{
		"nothing":           {``, "end of JSON"},
		"null":              {`null`, `no "type"`},
		"html":              {`<html>`, "invalid character"},
		"type not string":   {`{"type":5}`, "cannot unmarshal"},
		"cut":               {`{"type":"credit","bytes":5`, "end of JSON"},
		"cut array":         {`[{"type":"credit","bytes":5}`, "end of JSON"},
		"not UTF-8":         {"{\"type\":\"credit\",\"x\":\"\xff\"}", "UTF-8"},
		"too large":         {`{"type":"credit","x":"` + strings.Repeat("x", MaxFrame) + `"}`, "at most"},
		"too many":          {"[" + many + "]", "messages in a frame"},
		"wrong type":        {`{"type":"credit","bytes":"5"}`, "credit: json"},
		"no execution":      {`{"type":"started","seq":1,"at":1}`, "not <job>.<host>"},
		"execution's job":   {`{"type":"started","execution":"` + strings.ToUpper(x1) + `","seq":1,"at":1}`, "job id"},
		"execution's host":  {`{"type":"started","execution":"` + x1[:27] + `-a","seq":1,"at":1}`, "host id"},
		"execution in html": {`{"type":"started","execution":"` + x1 + `<b>","seq":1,"at":1}`, "host id"},
		"seq 0":             {`{"type":"started","execution":"` + x1 + `","seq":0,"at":1}`, "seq: 0"},
		"started at 1":      {`{"type":"started","execution":"` + x1 + `","seq":1,"at":1}`, "seq: 1"},
		"seq huge":          {`{"type":"started","execution":"` + x1 + `","seq":9007199254740992,"at":1}`, "seq: 9007"},
		"time before 1970":  {`{"type":"started","execution":"` + x1 + `","seq":2,"at":-1}`, "at: -1"},
		"accepted at 2":     {`{"type":"accepted","execution":"` + x1 + `","seq":2,"at":1,"token":"t"}`, "seq: 2"},
		"accepted no token": {`{"type":"accepted","execution":"` + x1 + `","seq":1,"at":1}`, "token is missing"},
		"rejected at 3":     {`{"type":"rejected","execution":"` + x1 + `","seq":3,"at":1,"token":"t"}`, "seq: 3"},
		"gap backwards":     {`{"type":"gap","execution":"` + x1 + `","seq":5,"through":4,"at":1}`, "through: 4"},
		"gap less than 0":   {`{"type":"gap","execution":"` + x1 + `","seq":5,"through":5,"at":1,"bytes":-1}`, "bytes: -1"},
		"output empty":      {out + `"text":""}`, "0 bytes"},
		"output too long":   {out + `"text":"` + strings.Repeat("x", MaxChunk+1) + `"}`, "8193 bytes"},
		"output both":       {out + `"text":"a","b64":"YQ=="}`, "both"},
		"output bad base64": {out + `"b64":"?"}`, "base64"},
		"stream":            {strings.Replace(out, "stdout", "stdin", 1) + `"text":"a"}`, "stream"},
		"outcome":           {fin + `"outcome":"running"}`, "outcome"},
		"exit code":         {fin + `"outcome":"failed","exit_code":-2}`, "exit_code"},
		"signal":            {fin + `"outcome":"failed","signal":"` + strings.Repeat("S", 33) + `"}`, "signal"},
		"dropped":           {fin + `"outcome":"failed","dropped":-1}`, "dropped"},
		"no generation":     {`{"type":"hello","nonce":"n"}`, "generation is missing"},
		"no nonce":          {`{"type":"hello","generation":"n"}`, "nonce is missing"},
		"long generation":   {`{"type":"hello","generation":"` + strings.Repeat("g", 129) + `","nonce":"n"}`, "129 bytes"},
		"control in nonce":  {`{"type":"hello","generation":"g","nonce":"\u001b[1m"}`, "visible ASCII"},
		"position":          {hello + `"position":-1}`, "position"},
		"lane":              {hello + `"slots":{"De":1}}`, "lane"},
		"slots":             {hello + `"slots":{"default":65}}`, "65 of lane default"},
		"facts":             {hello + `"facts":{"a":"` + strings.Repeat("f", MaxFacts) + `"}}`, "facts"},
		"fact no name":      {hello + `"facts":{"":"a"}}`, "facts"},
		"in hand twice":     {hello + `"executions":[{"execution":"` + x1 + `"},{"execution":"` + x1 + `"}]}`, "named twice"},
		"in hand seq":       {hello + `"executions":[{"execution":"` + x1 + `","seq":-1}]}`, "seq: -1"},
		"take as hello":     {`{"type":"take","nonce":"n"}`, "generation is missing"},
		"job no script":     {job + `"lane":"x"}}`, "0 of script"},
		"job two scripts":   {job + `"script":"a","script_url":"/a"}}`, "2 of script"},
		"job other origin":  {job + `"script_url":"//evil/a"}}`, "own origin"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
	lanes := map[string]int{}
	for i := range MaxLanes + 1 {
		lanes["l"+string(rune('a'+i))] = 1
	}
	if err := (&Hello{Generation: "g", Nonce: "n", Slots: lanes}).validate(); err == nil {
		t.Error("too many lanes are taken")
	}
	if err := (&Hello{Generation: "g", Nonce: "n", Executions: make([]InHand, MaxInHand+1)}).validate(); err == nil {
		t.Error("too many executions in hand are taken")
	}
}

func TestPack(t *testing.T) {
	var msgs []Message
	for i := range 3000 {
		msgs = append(msgs, &Credit{Bytes: int64(i)})
	}
	msgs = append(msgs, &Drain{Within: 1}, &Output{Execution: x1, Seq: 2, Stream: Stdout, Text: strings.Repeat("x", 8000)}, &Drain{Within: 2})
	for _, target := range []int{1, 100, 4096, MaxFrame, MaxFrame * 2} {
		frames, err := Pack(target, msgs...)
		if err != nil {
			t.Fatal(err)
		}
		var got []Message
		for _, f := range frames {
			ms, err := Decode(f)
			if err != nil {
				t.Fatalf("target %d: %v in %.80s", target, err, f)
			}
			if len(f) > target && len(ms) > 1 {
				t.Errorf("target %d: %d messages in %d bytes", target, len(ms), len(f))
			}
			if len(ms) == 1 && f[0] == '[' {
				t.Errorf("target %d: an array of one", target)
			}
			got = append(got, ms...)
		}
		if !reflect.DeepEqual(got, msgs) {
			t.Errorf("target %d: other messages came back", target)
		}
	}
	if frames, err := Pack(100); err != nil || len(frames) != 0 {
		t.Errorf("nothing packs to %d frames, %v", len(frames), err)
	}
	if _, err := Pack(MaxFrame, &Ack{Reason: strings.Repeat("x", MaxFrame)}); err == nil {
		t.Error("a message beyond MaxFrame is packed")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		b, _ := Encode(m)
		f.Add(b)
	}
	b, _ := Encode(samples()...)
	f.Add(b)
	f.Add([]byte(`[{"type":"hello"},{"type":5}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		msgs, err := Decode(in)
		if err != nil {
			return
		}
		for _, m := range msgs {
			if e, ok := m.(Event); ok {
				if id, seq := e.Ref(); execution(id) != nil || seq < 1 {
					t.Fatalf("event of %q at %d", id, seq)
				}
			}
		}
		// What was taken can be written, and is the same then.
		b, err := Encode(msgs...)
		if err != nil {
			t.Fatalf("%q was read but can't be written: %v", in, err)
		}
		again, err := Decode(b)
		if len(b) > MaxFrame {
			return // escaping made it longer
		}
		if err != nil {
			t.Fatalf("%q was read but not %q: %v", in, b, err)
		}
		b2, _ := Encode(again...)
		if !bytes.Equal(b, b2) {
			t.Fatalf("%q became %q", b, b2)
		}
	})
}

func FuzzCloseReason(f *testing.F) {
	f.Add("retry=5; drain")
	f.Add("retry=; x")
	f.Fuzz(func(t *testing.T, s string) {
		retry, text := ParseCloseReason(s)
		if retry < 0 {
			t.Fatal("negative")
		}
		if out := CloseReason(retry, text); len(out) > maxReason {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

// TestEncodeIsJSON holds what Encode builds by hand against the standard
// library.
func TestEncodeIsJSON(t *testing.T) {
	b, err := Encode(samples()...)
	if err != nil || !json.Valid(b) {
		t.Fatalf("%s: %v", b, err)
	}
	if !bytes.Contains(b, []byte("echo <a> && echo")) {
		t.Error("a script's <, > and & are escaped")
	}
}
