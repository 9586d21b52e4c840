package queue

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// selectorParser reads a selector by recursive descent; pos is a byte offset.
type selectorParser struct {
	s   string
	pos int
}

func itoa(n int) string { return strconv.Itoa(n) }

func quoteRune(r rune) string { return strconv.QuoteRune(r) }

func (p *selectorParser) errorf(at int, format string, args ...any) error {
	return Errorf(Invalid, "selector: character %d: %s", utf8.RuneCountInString(p.s[:at])+1, fmt.Sprintf(format, args...))
}

// found describes what is at the position, for "found X".
func (p *selectorParser) found() string {
	if p.pos >= len(p.s) {
		return "the end"
	}
	r, _ := utf8.DecodeRuneInString(p.s[p.pos:])
	return quoteRune(r)
}

func (p *selectorParser) space() {
	for p.pos < len(p.s) && (p.s[p.pos] == ' ' || p.s[p.pos] == '\t' || p.s[p.pos] == '\n' || p.s[p.pos] == '\r') {
		p.pos++
	}
}

// peek gives the next byte that isn't space, 0 at the end.
func (p *selectorParser) peek() byte {
	p.space()
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

// atEnd tells whether a requirement ends here.
func (p *selectorParser) atEnd() bool {
	c := p.peek()
	return p.pos >= len(p.s) || c == ','
}

// word takes all up to a space or an operator; what it contains is judged by
// the caller, so that the error can say what is wrong with it.
func (p *selectorParser) word() (at int, w string) {
	p.space()
	at = p.pos
	for p.pos < len(p.s) {
		switch p.s[p.pos] {
		case ' ', '\t', '\n', '\r', '=', '!', '(', ')', ',':
			return at, p.s[at:p.pos]
		}
		p.pos++
	}
	return at, p.s[at:]
}

func (p *selectorParser) parse() (Selector, error) {
	var rs []requirement
	if p.peek(); p.pos >= len(p.s) {
		return Selector{}, nil
	}
	for {
		r, err := p.requirement()
		if err != nil {
			return Selector{}, err
		}
		if rs = append(rs, r); len(rs) > MaxRequirements {
			return Selector{}, p.errorf(p.pos, "more than %d requirements", MaxRequirements)
		}
		if p.peek(); p.pos >= len(p.s) {
			return newSelector(rs), nil
		}
		if p.s[p.pos] != ',' {
			return Selector{}, p.errorf(p.pos, "found %s, expected ',' or the end", p.found())
		}
		p.pos++
	}
}

func (p *selectorParser) requirement() (requirement, error) {
	if p.peek() == '!' {
		p.pos++
		key, err := p.key()
		return requirement{key: key, op: opNot}, err
	}
	key, err := p.key()
	if err != nil || p.atEnd() {
		return requirement{key: key, op: opExists}, err
	}
	switch at := p.pos; p.s[at] {
	case '=':
		p.pos++
		if p.pos < len(p.s) && p.s[p.pos] == '=' {
			p.pos++
		}
		v, err := p.value()
		return requirement{key: key, op: opIs, values: []string{v}}, err
	case '!':
		p.pos++
		if p.pos >= len(p.s) || p.s[p.pos] != '=' {
			return requirement{}, p.errorf(p.pos, "found %s, expected '=' after '!'", p.found())
		}
		p.pos++
		v, err := p.value()
		return requirement{key: key, op: opIsNot, values: []string{v}}, err
	case '(', ')':
		return requirement{}, p.errorf(at, "found %s, expected an operator: =, ==, !=, in, notin", p.found())
	default:
		_, op := p.word()
		if op != opIn && op != opNotIn {
			return requirement{}, p.errorf(at, "found %.40q, expected an operator: =, ==, !=, in, notin", op)
		}
		return p.set(key, op)
	}
}

func (p *selectorParser) key() (string, error) {
	at, k := p.word()
	if k == "" {
		return "", p.errorf(at, "found %s, expected a label key", p.found())
	}
	if problem := keyProblem(k); problem != "" {
		return "", p.errorf(at, "key %.80q %s", k, problem)
	}
	return k, nil
}

func (p *selectorParser) value() (string, error) {
	at, v := p.word()
	if problem := wordProblem(v, MaxLabelValue); problem != "" {
		return "", p.errorf(at, "value %.80q %s", v, problem)
	}
	return v, nil
}

// set reads "(a,b)". As in Kubernetes, a value may be empty, "()" may not.
func (p *selectorParser) set(key, op string) (requirement, error) {
	if p.peek() != '(' {
		return requirement{}, p.errorf(p.pos, "found %s, expected '(' after %q", p.found(), op)
	}
	p.pos++
	if p.peek() == ')' {
		return requirement{}, p.errorf(p.pos, "%q needs at least one value", op)
	}
	var values []string
	for {
		v, err := p.value()
		if err != nil {
			return requirement{}, err
		}
		if values = append(values, v); len(values) > MaxSelectorValues {
			return requirement{}, p.errorf(p.pos, "more than %d values", MaxSelectorValues)
		}
		switch p.peek() {
		case ',':
			p.pos++
			continue
		case ')':
			p.pos++
		default:
			return requirement{}, p.errorf(p.pos, "found %s, expected ',' or ')'", p.found())
		}
		break
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if len(values) == 1 {
		op = map[string]string{opIn: opIs, opNotIn: opIsNot}[op]
	}
	return requirement{key: key, op: op, values: values}, nil
}
