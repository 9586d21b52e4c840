package main

import (
	"strings"
	"testing"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

// TestTableOnTerminal wraps the column that is worth it, cuts others, and is as wide as the terminal.
func TestTableOnTerminal(t *testing.T) {
	const why = "The host is offline since 2026-01-02 03:04:05 UTC, 2h 3m. It is kept for it until 2026-01-03 03:04:05 UTC."
	long := strings.Repeat("h", 100)
	write := func(host string, width int, wrap bool) string {
		t.Helper()
		var b strings.Builder
		table := newTable(ctl.Terminal{W: &b, TTY: width > 0, Width: func() int { return width }}, "HOST", "STATE", "WHY")
		table.wrap = wrap
		table.row(host, "queued", why)
		table.row("b", "running", "Short.")
		if err := table.flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if n := len([]rune(line)); width > 0 && n > width && !strings.HasPrefix(line, long) {
				t.Errorf("%d columns of %d: %s", n, width, line)
			}
		}
		return b.String()
	}
	if got, want := write("web-1", 80, true), ""+
		"HOST   STATE    WHY\n"+
		"web-1  queued   The host is offline since 2026-01-02 03:04:05 UTC, 2h 3m. It is\n"+
		"                kept for it until 2026-01-03 03:04:05 UTC.\n"+
		"b      running  Short.\n"; got != want {
		t.Errorf("wrapped:\n%s", got)
	}
	if got := write("web-1", 80, false); strings.Count(got, "\n") != 3 || !strings.Contains(got, "…\n") {
		t.Errorf("cut:\n%s", got)
	}
	if got := write("web-1", 0, true); !strings.Contains(got, "web-1  queued   "+why+"\n") {
		t.Errorf("in a pipe:\n%s", got)
	}
	for _, width := range []int{80, 100} {
		got := write(long, width, true)
		if words := strings.Fields(got); strings.Join(words[5:5+len(strings.Fields(why))], " ") != why {
			t.Errorf("a long name in %d columns:\n%s", width, got)
		}
	}
}
