package ctl

import (
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// Outcome says in a few words how an execution ended, or its state.
func Outcome(x api.Execution) string {
	r := x.Result
	if r == nil {
		if x.CancelledAt != nil && x.FinishedAt == nil {
			return x.State + ", cancel asked for"
		}
		return safetext.Line(x.State)
	}
	var what []string
	if r.ExitCode != 0 || r.Signal != "" { // that it is 0 is what succeeded means
		what = ending(r)
	} else if r.Reason != "" {
		what = []string{r.Reason}
	}
	s := x.State
	if len(what) > 0 {
		s += ": " + strings.Join(what, ", ")
	}
	if x.Late != nil {
		s += "; a late result came at " + When(x.Late.At) + ": " + strings.Join(append([]string{x.Late.Outcome}, ending(x.Late)...), ", ")
	}
	return safetext.Line(s)
}

// ending says what is known of a result besides its outcome.
func ending(r *api.Result) (what []string) {
	switch {
	case r.Signal != "":
		what = append(what, "by "+r.Signal)
	case r.ExitCode >= 0:
		what = append(what, fmt.Sprintf("exit %d", r.ExitCode))
	}
	if r.Reason != "" {
		what = append(what, r.Reason)
	}
	return what
}

// failed tells whether an execution counts as a failure of its job.
func failed(state string) bool {
	s, err := queue.ParseState(state)
	return err == nil && s.Failure()
}

// FailureStates names the states that count as failures of a job.
func FailureStates() []string {
	var names []string
	for _, s := range queue.States() {
		if s.Failure() {
			names = append(names, s.String())
		}
	}
	return names
}

// Missing says what of an execution's output isn't there, and why.
func Missing(o api.Output) []string {
	var notes []string
	if o.Deleted {
		notes = append(notes, "output was deleted by retention")
	}
	if o.Dropped > 0 {
		notes = append(notes, fmt.Sprintf("output was truncated: %s beyond the limit are not kept", Bytes(o.Dropped)))
	}
	if o.Gap > 0 {
		notes = append(notes, fmt.Sprintf("%s of output were lost on the way", Bytes(o.Gap)))
	}
	return notes
}

// Bytes writes a size for people.
func Bytes(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// Span writes a duration for people: 0.4s, 12s, 3m04s, 5h02m, 3d04h.
func Span(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case d < 0:
		return "0s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
}

// Seconds is Span without parts of a second.
func Seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%ds", max(0, d)/time.Second)
	}
	return Span(d)
}

// Plural writes a number of things: 1 host, 2 hosts.
func Plural(n int, one string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// When writes a time for people.
func When(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// Wrap breaks a text into lines of at most width columns, where words end. A word that is longer is broken.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	n := 0 // columns of line
	for word := range strings.FieldsSeq(text) {
		w := []rune(word)
		if line != "" && n+1+len(w) <= width {
			line, n = line+" "+word, n+1+len(w)
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for len(w) > width {
			lines = append(lines, string(w[:width]))
			w = w[width:]
		}
		line, n = string(w), len(w)
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}
