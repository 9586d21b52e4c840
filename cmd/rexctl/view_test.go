package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

// screen collects what is written, from several goroutines.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
	new chan struct{} // capacity 1
}

func newScreen() *screen { return &screen{new: make(chan struct{}, 1)} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(p)
	select {
	case s.new <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// await waits until the text is there.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(s.String(), text) {
		select {
		case <-s.new:
		case <-deadline:
			t.Fatalf("%q doesn't come; there is:\n%s", text, s)
		}
	}
}

// rexctl runs in process, and gives the exit status when wait is called.
type rexctl struct {
	out, err *screen
	wait     func() int
}

func start(t *testing.T, g *gate, tty bool, args ...string) *rexctl {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(g.token), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &rexctl{out: newScreen(), err: newScreen()}
	status := make(chan int, 1)
	columns := func() int { return 80 }
	go func() {
		status <- run(context.WithoutCancel(t.Context()), append([]string{"--server", g.url, "--token-file", token}, args...), streams{
			in: strings.NewReader(""), out: ctl.Terminal{W: r.out, TTY: tty, Width: columns}, err: ctl.Terminal{W: r.err, TTY: tty, Width: columns},
		})
	}()
	r.wait = sync.OnceValue(func() int { return <-status })
	t.Cleanup(func() { r.wait() })
	return r
}

// TestLiveOutput prints a line when the host has printed it, and follows a host that comes late.
func TestLiveOutput(t *testing.T) {
	g := newGate(t, "a", "b", "late!")
	flag := filepath.Join(t.TempDir(), "go-on")
	r := start(t, g, false, "job", "run", "--all", "--", "echo begun; until test -e "+flag+"; do sleep 0.01; done; echo over")
	r.out.await(t, "a    | begun\n")
	r.out.await(t, "b    | begun\n")
	if strings.Contains(r.out.String(), "over") {
		t.Error("it is over before its time")
	}
	g.online("late")
	r.out.await(t, "late | begun\n")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if status := r.wait(); status != 0 || strings.Count(r.out.String(), "over") != 3 {
		t.Errorf("status %d:\n%s%s", status, r.out, r.err)
	}
}

// TestManyHosts prints each host's output in one piece, exactly, with a bounded number of requests.
func TestManyHosts(t *testing.T) {
	const hosts = 250
	var names []string
	for i := range hosts {
		names = append(names, fmt.Sprintf("h%03d", i))
	}
	for _, format := range []string{"table", "jsonl"} {
		t.Run(format, func(t *testing.T) {
			g := newGate(t, names...)
			r := start(t, g, false, "-o", format, "job", "run", "--all", "--", "for i in 1 2 3; do echo $HOST $i; done; test $HOST != h007")
			if status := r.wait(); status != 1 {
				t.Fatalf("status %d:\n%s", status, r.err)
			}
			if format == "jsonl" {
				checkEvents(t, r.out.String(), hosts)
			} else {
				checkBlocks(t, r.out.String(), hosts)
			}
			if want := "h007: failed: exit 1\n"; format == "table" && strings.Count(r.err.String(), "failed: exit") != 1 || format == "table" && !strings.Contains(r.err.String(), want) {
				t.Errorf("stderr:\n%s", r.err)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if n := g.calls["GET output"]; n != hosts {
				t.Errorf("output was asked for %d times", n)
			}
		})
	}
}

func checkBlocks(t *testing.T, out string, hosts int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	seen := map[string]bool{}
	for block := range slices.Chunk(lines, 3) {
		host, _, _ := strings.Cut(block[0], " ")
		if seen[host] || strings.Join(block, "\n") != fmt.Sprintf("%[1]s | %[1]s 1\n%[1]s | %[1]s 2\n%[1]s | %[1]s 3", host) {
			t.Fatalf("not one host's output, or twice: %q", block)
		}
		seen[host] = true
	}
	if len(seen) != hosts {
		t.Errorf("output of %d hosts", len(seen))
	}
}

func checkEvents(t *testing.T, out string, hosts int) {
	t.Helper()
	kinds, data := map[string]int{}, map[string]string{}
	for sc := bufio.NewScanner(strings.NewReader(out)); sc.Scan(); {
		var e ctl.Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatalf("%v in %s", err, sc.Text())
		}
		kinds[e.Event]++
		data[e.Host] += e.Data
	}
	if kinds["job"] != 1 || kinds["finished"] != 1 || kinds["execution"] != hosts || data["h042"] != "h042 1\nh042 2\nh042 3\n" {
		t.Errorf("events %v, h042 %q", kinds, data["h042"])
	}
}

// TestHostileText lets nothing through to a terminal that it could act on.
func TestHostileText(t *testing.T) {
	script := `printf 'a\033[2J\033]0;title\007b\rc\342\200\256d\233\n'; printf 'reason \033[31mred\nroot#' >&2; exit 1`
	for _, args := range [][]string{
		{"job", "run", "--host", "a", "--host", "b", "--", script},
		{"job", "run", "--host", "a", "--", script},
		{"job", "run", "--host", "a", "--host", "b", "--output", "failed", "--", script},
		{"-o", "jsonl", "job", "run", "--host", "a", "--", script},
	} {
		g := newGate(t, "a", "b")
		r := start(t, g, true, args...)
		if status := r.wait(); status != 1 {
			t.Fatalf("status %d: %s", status, r.err)
		}
		g.mu.Lock()
		job := g.jobs[0].ID
		g.hosts["a"].Labels["evil"] = "x\x1b[2J\n\u202e"
		g.hosts["a"].Facts = map[string]string{"os": "\x1b]8;;http://x\x07"}
		g.jobs[0].Name = "n\x1b[31m\u009b"
		g.mu.Unlock()
		texts := r.out.String() + r.err.String()
		for _, more := range [][]string{
			{"job", "logs", job}, {"job", "show", job}, {"job", "show", job, "a"}, {"job", "list"}, {"host", "list"}, {"host", "show", "a"},
			{"job", "show", "--script", job}, {"-o", "json", "host", "show", "a"}, {"-o", "jsonl", "job", "list"}, {"__complete", "job", "show", ""},
		} {
			r := start(t, g, true, more...)
			if status := r.wait(); status != 0 {
				t.Fatalf("%v: status %d: %s", more, status, r.err)
			}
			texts += r.out.String() + r.err.String()
		}
		for i, c := range texts {
			// Of its own, rexctl uses no more than this to redraw a line.
			if c < ' ' && !strings.ContainsRune("\n\t\r\b", c) || c >= 0x7f && c < 0xa0 || c == '\u202e' || c == '\ufffd' {
				t.Fatalf("%q reaches the terminal: %q", c, texts[max(0, i-40):min(len(texts), i+20)])
			}
		}
		if strings.Contains(texts, "b\rc") {
			t.Error("a carriage return of a host reaches the terminal")
		}
		if args[0] == "job" && !strings.Contains(texts, `a\x1b[2J\x1b]0;title\x07b\x0dc\u202ed\x9b`) {
			t.Errorf("the output can't be read:\n%s", texts)
		}
	}
}

// TestPipedOutputIsRaw leaves bytes alone where nobody looks.
func TestPipedOutputIsRaw(t *testing.T) {
	g := newGate(t, "a")
	r := start(t, g, false, "job", "run", "--host", "a", "--", `printf 'a\033[2J\r\n\377\000'`)
	if status := r.wait(); status != 0 || r.out.String() != "a\x1b[2J\r\n\xff\x00" {
		t.Errorf("status %d, %q", status, r.out)
	}
}

// TestProgressLine redraws one line on a terminal, and leaves none behind.
func TestProgressLine(t *testing.T) {
	g := newGate(t, "a", "b", "late!")
	r := start(t, g, true, "job", "run", "--all", "--", "echo hello")
	r.err.await(t, "2 of 3 hosts done, 0 failed, 1 outstanding (1 queued)")
	g.online("late")
	if status := r.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	for line := range strings.SplitSeq(r.err.String(), "\n") {
		for part := range strings.SplitSeq(line, "\r") {
			if len(strings.TrimRight(part, "\b")) > 80 {
				t.Errorf("%d columns: %q", len(part), part)
			}
		}
	}
	shown := rendered(r.err.String())
	if strings.Contains(shown, "outstanding") || !strings.HasSuffix(shown, "3 of 3 hosts succeeded in "+after(shown, "succeeded in ")) {
		t.Errorf("left on the terminal:\n%s", shown)
	}
}

// rendered does what a terminal does with carriage returns and backspaces.
func rendered(s string) string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		var cells []rune
		at := 0
		for _, c := range line {
			switch c {
			case '\r':
				at = 0
			case '\b':
				at--
			default:
				for len(cells) <= at {
					cells = append(cells, ' ')
				}
				cells[at] = c
				at++
			}
		}
		lines = append(lines, strings.TrimRight(string(cells), " "))
	}
	return strings.Join(lines, "\n")
}

func after(s, sep string) string {
	_, rest, _ := strings.Cut(s, sep)
	return rest
}

// TestOutageDuringWatch endures a server that is away, and says so once.
func TestOutageDuringWatch(t *testing.T) {
	g := newGate(t, "a", "b")
	flag := filepath.Join(t.TempDir(), "go-on")
	r := start(t, g, false, "job", "run", "--all", "--", "echo begun; until test -e "+flag+"; do sleep 0.01; done; echo over")
	r.out.await(t, "a | begun\n")
	g.mu.Lock()
	g.fail = func(*http.Request) int { return http.StatusServiceUnavailable }
	g.mu.Unlock()
	r.err.await(t, "Trying again: the store is away\n")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.fail = nil
	g.mu.Unlock()
	if status := r.wait(); status != 0 {
		t.Errorf("status %d", status)
	}
	if out := r.out.String(); strings.Count(out, "begun") != 2 || strings.Count(out, "over") != 2 {
		t.Errorf("output:\n%s", out)
	}
	if e := r.err.String(); strings.Count(e, "Trying again") != 1 || !strings.Contains(e, "The server answers again.\n") {
		t.Errorf("stderr:\n%s", e)
	}
}

// TestOutputRefusedByScope watches on without output, where the token may not read it.
func TestOutputRefusedByScope(t *testing.T) {
	g := newGate(t, "a")
	g.fail = func(r *http.Request) int {
		if strings.HasSuffix(r.URL.Path, "/output") {
			return http.StatusForbidden
		}
		return 0
	}
	r := start(t, g, false, "job", "run", "--all", "--", "echo hello")
	if status := r.wait(); status != 0 || !strings.Contains(r.err.String(), "a: can't show the output: ") {
		t.Errorf("status %d:\n%s", status, r.err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

// TestStdoutBreaks ends the watch with an error.
func TestStdoutBreaks(t *testing.T) {
	g := newGate(t, "a")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(g.token), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	status := run(t.Context(), []string{"--server", g.url, "--token-file", token, "job", "run", "--all", "--", "echo x; sleep 20"},
		streams{in: strings.NewReader(""), out: ctl.Terminal{W: brokenPipe{}}, err: ctl.Terminal{W: &stderr}})
	if status != 3 || !strings.Contains(stderr.String(), os.ErrClosed.Error()) {
		t.Errorf("status %d: %s", status, &stderr)
	}
}
