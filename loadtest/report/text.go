package report

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// width of the text, in columns.
const width = 80

// Text writes a result for people: at most 80 columns, everything with its unit. Control characters in
// what hosts and errors said are replaced.
func Text(w io.Writer, r *Result) error {
	p := &page{w: bufio.NewWriter(w)}
	p.head(r)
	p.facts(r)
	p.steps(r.Steps)
	p.polls(r.Polls)
	p.processes(r)
	p.more(r.Processes)
	p.kernel(r.Kernel)
	p.figures(r.Figures)
	p.errors(r.Errors)
	return p.w.Flush() // it keeps the first error of all writes
}

// page is a text being written.
type page struct{ w *bufio.Writer }

func (p *page) printf(format string, args ...any) {
	line := strings.TrimRight(fmt.Sprintf(format, args...), " ")
	_, _ = p.w.WriteString(line + "\n") // Flush gives the error
}

// fact writes a labelled line, wrapped at spaces.
func (p *page) fact(label string, words ...string) {
	const indent = 10
	for _, line := range wrap(strings.Join(words, ", "), width-indent) {
		p.printf("%-*s%s", indent, label, line)
		label = ""
	}
}

// wrap breaks a text into lines at spaces. A word that is longer than a line is cut.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(clean(text)) {
		for len([]rune(word)) > columns {
			if line != "" {
				lines, line = append(lines, line), ""
			}
			runes := []rune(word)
			lines, word = append(lines, string(runes[:columns])), string(runes[columns:])
		}
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= columns:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// clean replaces what a terminal could take for more than text.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return '?'
		}
		return r
	}, s)
}

// summary is a result in a few words.
func summary(r *Result) string {
	text := fmt.Sprintf("%s on %s", r.Scenario, plural(r.Fleet.Hosts, "host"))
	var states []string
	for _, state := range byCount(r.Executions) {
		states = append(states, grouped(int64(r.Executions[state]))+" "+state)
	}
	if len(states) > 0 {
		text += ": " + strings.Join(states, ", ")
	}
	return clean(text)
}

// byCount gives the keys, those with most first.
func byCount(m map[string]int) []string {
	keys := slices.Sorted(maps.Keys(m))
	slices.SortStableFunc(keys, func(a, b string) int { return m[b] - m[a] })
	return keys
}

// commandLine writes a command so that a shell reads it back.
func commandLine(args []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=,./:@%+"
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.Trim(a, plain) != "" {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func (p *page) head(r *Result) {
	for _, line := range wrap(summary(r), width) {
		p.printf("%s", line)
	}
	p.printf("%s", strings.Repeat("=", width))
	for i, line := range wrap(commandLine(r.Command), width-6) {
		p.printf("%-4s%s", map[bool]string{true: "  $"}[i == 0], line)
	}
	p.printf("    %s, the whole run took %s", r.Started.UTC().Format("2 Jan 2006 15:04 UTC"), r.Took)
	p.printf("")
}

// facts writes what the run was made of.
func (p *page) facts(r *Result) {
	m := r.Machine
	p.fact("machine", some(m.CPU, plural(m.Cores, "core"), formatBytes(float64(m.MemoryBytes)), m.Virtualisation)...)
	p.fact("", some(m.System, m.Kernel, m.Go, grouped(int64(m.Descriptors))+" descriptors a process")...)
	p.fact("", fmt.Sprintf("load before the run: %.2f, %.2f, %.2f (1, 5, 15 minutes)", m.Load[0], m.Load[1], m.Load[2]))
	s := r.Stand
	transport := "plain HTTP"
	if s.TLS {
		transport = "TLS"
	}
	if s.Remote {
		p.fact("service", some("that was there before", plural(s.Gateways, "gateway"), s.Rexgate)...)
	} else {
		p.fact("service", some("rexgate "+s.Rexgate, plural(s.Gateways, "gateway"), transport)...)
	}
	p.fact("", strings.Join(s.GatewayArgs, " "))
	if s.Store != "" {
		on := ""
		if s.StoreDisk != "" {
			on = " on " + s.StoreDisk
		}
		p.fact("store", strings.TrimSpace(s.Store+" "+s.StoreVersion)+on)
		p.fact("", strings.Join(s.StoreSettings, " "))
	}
	f := r.Fleet
	var transports []string
	for _, t := range byCount(f.Transports) {
		transports = append(transports, t+" "+grouped(int64(f.Transports[t])))
	}
	p.fact("fleet", some(fmt.Sprintf("%s in %s from %s", plural(f.Hosts, f.Runner+" host"), plural(f.Processes, "process"), plural(f.Addresses, "address")),
		strings.Join(transports, " "))...)
	p.fact("", "journal in "+f.Journal)
	if j := r.Job; j != nil {
		p.fact("job", strings.TrimSpace(shorten(j.Script, 4*70)))
		p.fact("", "submitted in "+j.Submit.String())
	}
	for i, note := range r.Notes {
		p.fact(map[bool]string{true: "notes"}[i == 0], note)
	}
	p.printf("")
}

// some gives the texts that aren't empty.
func some(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return grouped(int64(n)) + " " + what + "s"
}

// shorten cuts a text after so many runes.
func shorten(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-3]) + "..."
	}
	return s
}

func (p *page) distribution(name, by string, d *Distribution) {
	if d == nil {
		return
	}
	note := ""
	if d.Every > 1 {
		note = fmt.Sprintf(" 1/%d", d.Every)
	}
	p.printf("  %-11s %-9s %9s %9s %9s %9s %9s%s", shorten(clean(name), 11), by, grouped(d.Count), d.P50, d.P90, d.P99, d.Max, note)
}

func (p *page) steps(steps []Step) {
	if len(steps) == 0 {
		return
	}
	p.printf("%-23s %9s %9s %9s %9s %9s", "from submit to", "count", "p50", "p90", "p99", "max")
	for _, s := range steps {
		name := s.Name
		for _, clock := range []struct {
			by string
			d  *Distribution
		}{{"by store", s.ByStore}, {"by fleet", s.ByFleet}} {
			p.distribution(name, clock.by, clock.d)
			if clock.d != nil {
				name = ""
			}
		}
	}
	p.printf("")
}

func (p *page) polls(polls *Polls) {
	if polls == nil {
		return
	}
	p.printf("%-23s %9s %9s %9s %9s %9s", "polls", "count", "p50", "p90", "p99", "max")
	p.distribution("empty", "latency", polls.Empty)
	p.distribution("empty", "held", polls.Held)
	p.distribution("interval", "of a host", polls.Interval)
	var answers []string
	for _, status := range byCount(polls.Answers) {
		answers = append(answers, status+": "+grouped(int64(polls.Answers[status])))
	}
	p.fact("", some(digits(polls.PerSecond)+" polls a second", strings.Join(answers, ", "))...)
	p.printf("")
}

func (p *page) figures(figures []Figure) {
	if len(figures) == 0 {
		return
	}
	p.printf("%-48s %10s %10s %8s", "figures", "measured", "design's", "ratio")
	for _, f := range figures {
		design, ratio := "", ""
		if f.Design != 0 {
			design, ratio = formatUnit(f.Design, f.Unit), fmt.Sprintf("%.2f", f.Measured/f.Design)
		}
		p.printf("  %-46s %10s %10s %8s", shorten(clean(f.Name), 46), formatUnit(f.Measured, f.Unit), design, ratio)
		for _, line := range wrap(f.Note, width-4) {
			p.printf("    %s", line)
		}
	}
	p.printf("")
}

func (p *page) errors(errs []Error) {
	if len(errs) == 0 {
		return
	}
	p.printf("errors")
	for _, e := range errs {
		for i, line := range wrap(e.Reason, width-13) {
			count := ""
			if i == 0 {
				count = grouped(e.Count)
			}
			p.printf("  %9s  %s", count, line)
		}
		for _, line := range wrap(shorten(e.Example, 300), width-17) {
			p.printf("  %9s      %s", "", line)
		}
	}
	p.printf("")
}
