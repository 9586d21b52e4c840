package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/gateway/api"
)

func TestStatusOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {&Error{Status: ExitFailed}, 1}, {Usagef("x"), 2}, {&api.Problem{Code: "invalid"}, 2}, {fmt.Errorf("a: %w", &api.Problem{Code: "too_large"}), 2},
		{&api.Problem{Code: "not_found"}, 2}, {&api.Problem{Code: "conflict"}, 2}, {&api.Problem{Code: "unavailable"}, 3},
		{&api.Problem{Code: "unauthenticated"}, 3}, {errors.New("can't reach"), 3}, {errDeadline, 4},
		{errInterrupted, 130}, {context.Canceled, 130}, {fmt.Errorf("a: %w", errInterrupted), 130},
	} {
		if got := StatusOf(tc.err); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestFinishSaysItOnce(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""}, {&Error{Status: 1}, ""}, {errInterrupted, "rexctl: interrupted\n"},
		{&api.Problem{Code: "not_found", Detail: "hosts are unknown", Items: []string{"a", "\x1b[2J"}}, "rexctl: hosts are unknown: a, \\x1b[2J\n"},
		{&api.Problem{Code: "not_found", Detail: "host a is unknown", Items: []string{"a"}}, "rexctl: host a is unknown\n"},
	} {
		var b bytes.Buffer
		Finish(&b, "rexctl", tc.err)
		if b.String() != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, b.String(), tc.want)
		}
	}
}

func TestOutcome(t *testing.T) {
	now := time.Now()
	for want, x := range map[string]api.Execution{
		"running":                       {State: "running"},
		"running, cancel asked for":     {State: "running", CancelledAt: &now},
		"succeeded":                     {State: "succeeded", Result: &api.Result{Outcome: "succeeded"}},
		"failed: exit 3":                {State: "failed", Result: &api.Result{ExitCode: 3}},
		"failed: by SIGKILL":            {State: "failed", Result: &api.Result{ExitCode: -1, Signal: "SIGKILL"}},
		"rejected: no user \\x1b[1mbob": {State: "rejected", Result: &api.Result{ExitCode: -1, Reason: "no user \x1b[1mbob"}},
		"lost: silence; a late result came at " + When(now) + ": succeeded, exit 0": {State: "lost", FinishedAt: &now,
			Result: &api.Result{ExitCode: -1, Reason: "silence"}, Late: &api.Result{Outcome: "succeeded", At: now}},
		"lost; a late result came at " + When(now) + ": failed, exit 3": {State: "lost", Result: &api.Result{ExitCode: -1},
			Late: &api.Result{Outcome: "failed", ExitCode: 3, At: now}},
		"lost; a late result came at " + When(now) + ": cancelled, by SIGTERM, as \\x1b asked": {State: "lost", Result: &api.Result{ExitCode: -1},
			Late: &api.Result{Outcome: "cancelled", ExitCode: -1, Signal: "SIGTERM", Reason: "as \x1b asked", At: now}},
	} {
		if got := Outcome(x); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  string
	}{
		{"", 10, ""},
		{"one two three", 7, "one two|three"},
		{"one two three", 80, "one two three"},
		{"a longlonglongword b", 6, "a|longlo|nglong|word b"},
		{"größer als fünf", 6, "größer|als|fünf"},
		{"  one \n two ", 20, "one two"},
	} {
		if got := strings.Join(Wrap(tc.text, tc.width), "|"); got != tc.want {
			t.Errorf("%q in %d: %q, want %q", tc.text, tc.width, got, tc.want)
		}
	}
}

func TestSpanAndBytes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0.0s", 1234 * time.Millisecond: "1.2s", 12 * time.Second: "12s", 184 * time.Second: "3m04s",
		5*time.Hour + 2*time.Minute: "5h02m", 76 * time.Hour: "3d04h",
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 bytes", 9999: "9999 bytes", 20 << 10: "20 KiB", 64 << 20: "64 MiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	began := time.Now()
	m := meter{began: began}
	j := api.Job{Targets: 1000, Counters: api.Counters{"queued": 600, "running": 1}}
	for s := range 30 {
		j.Done, j.Failed = s*10, s/10
		j.Outstanding = j.Targets - j.Done
		m.note(j, began.Add(time.Duration(s)*time.Second))
	}
	now := began.Add(29 * time.Second)
	for width, want := range map[int]string{
		0:  "290 of 1000 hosts done, 2 failed, 710 outstanding (600 queued, 1 running), 10/s, 29s",
		79: "290 of 1000 hosts done, 2 failed, 710 outstanding, 10/s, 29s",
		20: "290 of 1000 hosts do",
	} {
		if got := m.line(j, now, width); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
	if len(m.samples) > 13 {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}

func TestPlainPace(t *testing.T) {
	began := time.Now()
	p := plainPace{next: began.Add(10 * time.Second)}
	lines := 0
	for s := range 100 {
		if p.due(s/50, began.Add(time.Duration(s)*time.Second)) {
			lines++
		}
	}
	if lines != 1 { // 10 s: nothing has changed; 50 s: it has
		t.Errorf("%d lines in 100 s", lines)
	}
}

// pieces is a sink that remembers.
type pieces struct {
	mu  sync.Mutex
	got []piece
}

func (p *pieces) send(pc piece) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, pc)
}

// TestLineWriter hands on all bytes in order, whole lines as long as they fit, however they arrive.
func TestLineWriter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringOfN(rapid.RuneFrom([]rune("ab\né世")), 0, 300, -1).Draw(t, "text"))
		text = bytes.ReplaceAll(text, []byte("ab"), bytes.Repeat([]byte("世"), rapid.IntRange(0, 30_000).Draw(t, "long")))
		var got [][]byte
		w := &lineWriter{send: func(b []byte) { got = append(got, bytes.Clone(b)) }}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, min(len(rest), 100_000)).Draw(t, "n")
			if m, err := w.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		w.flush()
		if !bytes.Equal(bytes.Join(got, nil), text) {
			t.Fatalf("%d bytes in, %d out, or others", len(text), len(bytes.Join(got, nil)))
		}
		for i, b := range got {
			if len(b) > maxPiece || i < len(got)-1 && b[len(b)-1] != '\n' && len(b) < maxPiece-4 {
				t.Fatalf("piece %d of %d has %d bytes and ends with %q", i, len(got), len(b), b[len(b)-1])
			}
			if utf8.Valid(text) && !utf8.Valid(b) {
				t.Fatalf("piece %d is cut within a character", i)
			}
		}
	})
}

// TestBlocksStayWhole lets writers compete, one of them with more than a block may hold back.
func TestBlocksStayWhole(t *testing.T) {
	to := &pieces{}
	turn := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			b := &block{to: to, take: func() bool { turn <- struct{}{}; return true }, release: func() { <-turn }}
			for range 50 {
				b.send(piece{data: bytes.Repeat([]byte{byte('a' + i)}, (i+1)*2000)})
			}
			b.close()
		})
	}
	wg.Wait()
	changes := 0
	for i, p := range to.got {
		if i > 0 && p.data[0] != to.got[i-1].data[0] {
			changes++
		}
	}
	if len(to.got) != 400 || changes != 7 {
		t.Errorf("%d pieces with %d changes of the writer", len(to.got), changes)
	}
}

// TestBlockWithoutTurn drops what it holds, and doesn't give a turn back that it never had.
func TestBlockWithoutTurn(t *testing.T) {
	to := &pieces{}
	b := &block{to: to, take: func() bool { return false }, release: func() { t.Error("released") }}
	b.send(piece{data: make([]byte, maxBlock+1)})
	b.send(piece{data: []byte("x")})
	b.close()
	if len(to.got) != 0 {
		t.Errorf("%d pieces", len(to.got))
	}
}

// TestPrinterKeepsOutOfTheWay of a line that hasn't ended.
func TestPrinterKeepsOutOfTheWay(t *testing.T) {
	var b bytes.Buffer
	p := newPrinter(Terminal{W: &b, TTY: true}, Terminal{W: &b, TTY: true}, func(err error) { t.Error(err) })
	p.send(piece{toStdout, []byte("Password: ")})
	p.send(piece{toProgress, []byte("1 of 2")})
	p.note("web1: failed")
	p.close()
	if got := b.String(); !strings.HasPrefix(got, "Password: \nweb1: failed\n") || strings.Count(got, "\n") != 2 {
		t.Errorf("%q", got)
	}
}
