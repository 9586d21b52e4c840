package safetext

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func clean(s string) string {
	var c Cleaner
	return string(c.Flush(c.Append(nil, []byte(s))))
}

func TestCleaner(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":                   "plain\ttext\n",
		"caf\u00e9 \u4e16\u754c 👩\u200d💻": "caf\u00e9 \u4e16\u754c 👩\u200d💻",
		"\x1b[2J\x1b]0;own\a":             `\x1b[2J\x1b]0;own\x07`,
		"a\r\nb":                          "a\nb",
		"good\rbad":                       `good\x0dbad`,
		"\r":                              `\x0d`,
		"\r\r\n":                          "\\x0d\n",
		"\u202egnp.exe":                   `\u202egnp.exe`,
		"\u009b31m":                       `\u009b31m`,
		"\x9b31m":                         `\x9b31m`,
		"\xe4\xb8":                        `\xe4\xb8`,
		"tag \U000e0041":                  `tag \U000e0041`,
		"\u2028":                          `\u2028`,
		"\x00\x7f":                        `\x00\x7f`,
		"\ufffd":                          "\ufffd",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"web1": "web1", "a\nb\tc": `a\x0ab\x09c`, "\x1b[31mred": `\x1b[31mred`, "\xff": `\xff`, "\ufffd": "\ufffd", "": "",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	in := "a\u009b\u202e\U000e0041\x7f\x1b\"\\\n世"
	b, err := json.MarshalIndent(map[string]string{"k": in}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	safe := AppendJSON(nil, b)
	checkSafe(t, safe)
	var out map[string]string
	if err := json.Unmarshal(safe, &out); err != nil || out["k"] != in {
		t.Errorf("%q %v from %s", out["k"], err, safe)
	}
}

// checkSafe refuses what a terminal could act on.
func checkSafe(t *testing.T, b []byte) {
	t.Helper()
	if !utf8.Valid(b) {
		t.Fatalf("not UTF-8: %q", b)
	}
	for _, r := range string(b) {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 {
			t.Fatalf("%q is left in %q", r, b)
		}
	}
}

// FuzzCleaner cuts a stream anywhere: the result is safe, and always the same.
func FuzzCleaner(f *testing.F) {
	f.Add([]byte("a\r\nb\x1b[0m世\xff\r"), uint8(3), uint8(5))
	f.Add([]byte("\xe4\xb8\x96\u202e"), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, i, j uint8) {
		whole := clean(string(in))
		checkSafe(t, []byte(whole))
		a, b := min(int(i), len(in)), min(int(i)+int(j), len(in))
		var c Cleaner
		var cut []byte
		for _, p := range [][]byte{in[:a], in[a:b], in[b:]} {
			cut = c.Append(cut, p)
			if len(c.held) > utf8.UTFMax {
				t.Fatalf("%d bytes are held", len(c.held))
			}
		}
		if cut = c.Flush(cut); string(cut) != whole {
			t.Fatalf("whole %q, in pieces %q", whole, cut)
		}
		if again := clean(whole); again != whole {
			t.Fatalf("%q cleaned again is %q", whole, again)
		}
		line := Line(string(in))
		checkSafe(t, []byte(line))
		if strings.ContainsAny(line, "\n\t") {
			t.Fatalf("%q isn't one line", line)
		}
		if utf8.Valid(in) {
			b, err := json.Marshal(string(in))
			if err != nil {
				t.Fatal(err)
			}
			safe := AppendJSON(nil, b)
			checkSafe(t, safe)
			var back string
			if err := json.Unmarshal(safe, &back); err != nil || !bytes.Equal([]byte(back), in) {
				t.Fatalf("%q became %q: %v", in, back, err)
			}
		}
	})
}
