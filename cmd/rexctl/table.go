package main

import (
	"iter"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
)

// table writes rows in aligned columns. The first rows decide the widths, so that long
// lists come as they are read. Cells are made safe. On a terminal, lines are cut to its width, or the last
// column is wrapped.
type table struct {
	out    ctl.Terminal
	wrap   bool
	widths []int
	rows   [][]string // that wait for the widths
	err    error
}

// alignRows is how many rows decide the widths, and maxBeside how wide a column gets at most beside one that
// is wrapped: what is longer shifts its own row only.
const (
	alignRows = 500
	maxBeside = 26
)

// newTable makes a table. One without a header has names and values, which are never cut.
func newTable(out ctl.Terminal, header ...string) *table {
	t := &table{out: out, wrap: len(header) == 0}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t *table) row(cells ...string) {
	safe := make([]string, len(cells))
	for i, c := range cells {
		safe[i] = safetext.Line(c)
	}
	t.rows = append(t.rows, safe)
	if len(t.rows) >= alignRows {
		t.flush()
	}
}

// flush writes the rows that wait, and gives the first error of writing.
func (t *table) flush() error {
	most := math.MaxInt
	if t.wrap {
		most = maxBeside
	}
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], min(utf8.RuneCountInString(c), most))
		}
	}
	var b strings.Builder
	for _, r := range t.rows {
		var line strings.Builder
		for i, c := range r[:len(r)-1] {
			line.WriteString(c)
			line.WriteString(strings.Repeat(" ", max(0, t.widths[i]-utf8.RuneCountInString(c))+2))
		}
		t.fit(&b, line.String(), r[len(r)-1])
	}
	t.rows = nil
	if _, err := t.out.W.Write([]byte(b.String())); err != nil && t.err == nil {
		t.err = err
	}
	return t.err
}

// minWrapped is the least width that a column is wrapped to.
const minWrapped = 36

// fit writes a row's columns, of which last is the last, as the terminal's width has it.
func (t *table) fit(b *strings.Builder, before, last string) {
	width := 0
	if t.out.TTY && t.out.Width != nil {
		width = t.out.Width()
	}
	line := strings.TrimRight(before+last, " ")
	indent := utf8.RuneCountInString(before)
	switch {
	case width <= 1 || utf8.RuneCountInString(line) <= width:
		b.WriteString(line + "\n")
	case !t.wrap:
		b.WriteString(string([]rune(line)[:width-1]) + "…\n")
	case width-indent >= minWrapped:
		b.WriteString(before + strings.Join(ctl.Wrap(last, width-indent), "\n"+strings.Repeat(" ", indent)) + "\n")
	default: // there is no room beside the others
		b.WriteString(strings.TrimRight(before, " ") + "\n    " + strings.Join(ctl.Wrap(last, max(minWrapped, width-4)), "\n    ") + "\n")
	}
}

// listing is a list of things that a verb shows.
type listing[T any] struct {
	items  iter.Seq2[T, error]
	limit  int    // 0 = all
	key    string // of the list in JSON
	header []string
	wrap   bool // the last column is worth lines of its own
	row    func(T) []string
	empty  string // said on stderr if there is none
	more   string // said on stderr if the limit ended it
}

// list writes a listing in the format that is set.
func list[T any](a *app, l listing[T]) error {
	t := newTable(a.out, l.header...)
	t.wrap = l.wrap
	all := []T{}
	n, more := 0, false
	for it, err := range l.items {
		if err != nil {
			return err
		}
		if l.limit > 0 && n == l.limit {
			more = true
			break
		}
		n++
		switch ctl.Format(a.format) {
		case ctl.JSON:
			all = append(all, it)
		case ctl.JSONL:
			if err := a.emit(it); err != nil {
				return err
			}
		default:
			t.row(l.row(it)...)
		}
	}
	switch {
	case ctl.Format(a.format) == ctl.JSON:
		return a.emit(map[string][]T{l.key: all})
	case ctl.Format(a.format) == ctl.JSONL:
	case n == 0:
		a.notef("%s", l.empty)
	default:
		if err := t.flush(); err != nil {
			return err
		}
		if more && l.more != "" {
			a.notef("%s", l.more)
		}
	}
	return nil
}

// emit writes v as JSON.
func (a *app) emit(v any) error {
	b, err := ctl.EncodeJSON(v, ctl.Format(a.format))
	if err != nil {
		return err
	}
	_, err = a.out.W.Write(b)
	return err
}

// did says what a verb did: a line for people, v for programs.
func (a *app) did(text string, v any) error {
	if !a.isTable() {
		return a.emit(v)
	}
	_, err := a.out.W.Write([]byte(safetext.Line(text) + "\n"))
	return err
}

func (a *app) isTable() bool { return ctl.Format(a.format) == ctl.Table }

// when writes a time for people; "-" if it hasn't come.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return ctl.When(*t)
}

// age writes how long ago something was.
func age(t time.Time) string { return ctl.Seconds(time.Since(t)) }

// pairs writes labels and facts: sorted, as typed.
func pairs(m map[string]string) string {
	if len(m) == 0 {
		return "-"
	}
	parts := make([]string, 0, len(m))
	for _, k := range sortedKeys(m) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ",")
}
