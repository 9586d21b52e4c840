package queue

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Selector is a label selector in Kubernetes' syntax: requirements joined by
// commas, all of which must hold: "a=b", "a==b", "a!=b", "a in (b,c)",
// "a notin (b,c)", "a", "!a". The zero value matches every host. As in
// Kubernetes, "!=" and "notin" also match hosts without the key, and values are bare
// words: empty, or [A-Za-z0-9._-] beginning and ending with a letter or digit.
type Selector struct {
	requirements []requirement // sorted, none twice
}

// The operators. A set of one value is "=" or "!=".
const (
	opIs     = "="
	opIsNot  = "!="
	opIn     = "in"
	opNotIn  = "notin"
	opExists = "exists"
	opNot    = "!"
)

type requirement struct {
	key    string
	op     string
	values []string // sorted, none twice
}

// ParseSelector reads a selector. Errors: Invalid, with the position, counted
// in characters from 1.
func ParseSelector(s string) (Selector, error) {
	p := selectorParser{s: s}
	return p.parse()
}

// Matches tells whether the labels satisfy the selector.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s.requirements {
		if !r.matches(labels) {
			return false
		}
	}
	return true
}

func (r requirement) matches(labels map[string]string) bool {
	v, has := labels[r.key]
	switch r.op {
	case opExists:
		return has
	case opNot:
		return !has
	case opIs, opIn:
		return has && slices.Contains(r.values, v)
	default: // opIsNot, opNotIn
		return !has || !slices.Contains(r.values, v)
	}
}

// String gives the canonical text, which ParseSelector reads: equal selectors
// give equal text, whatever they were written like.
func (s Selector) String() string {
	var b strings.Builder
	for i, r := range s.requirements {
		if i > 0 {
			b.WriteByte(',')
		}
		switch r.op {
		case opExists:
			b.WriteString(r.key)
		case opNot:
			b.WriteString("!" + r.key)
		case opIs, opIsNot:
			b.WriteString(r.key + r.op + r.values[0])
		default:
			b.WriteString(r.key + " " + r.op + " (" + strings.Join(r.values, ",") + ")")
		}
	}
	return b.String()
}

// Requirement is one of a selector's, for stores that evaluate it themselves. It holds for labels of which the key is there
// with one of the values (any, if there are none); with Not, if that isn't so.
type Requirement struct {
	Key    string
	Not    bool
	Values []string
}

// Requirements gives what must hold, all of it.
func (s Selector) Requirements() []Requirement {
	rs := make([]Requirement, len(s.requirements))
	for i, r := range s.requirements {
		rs[i] = Requirement{Key: r.key, Not: r.op == opNot || r.op == opIsNot || r.op == opNotIn, Values: slices.Clone(r.values)}
	}
	return rs
}

// Empty tells whether the selector matches every host.
func (s Selector) Empty() bool { return len(s.requirements) == 0 }

func (r requirement) compare(o requirement) int {
	return cmp.Or(cmp.Compare(r.key, o.key), cmp.Compare(r.op, o.op), slices.Compare(r.values, o.values))
}

func newSelector(rs []requirement) Selector {
	slices.SortFunc(rs, requirement.compare)
	rs = slices.CompactFunc(rs, func(a, b requirement) bool { return a.compare(b) == 0 })
	return Selector{requirements: rs}
}

// isWordByte tells what a key or value in a selector is made of; isAlnum what
// it begins and ends with.
func isWordByte(c byte) bool { return isAlnum(c) || c == '-' || c == '_' || c == '.' }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// wordProblem tells what keeps s from being a word, "" if nothing.
func wordProblem(s string, maxLen int) string {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			r, _ := utf8.DecodeRuneInString(s[i:])
			return "contains " + quoteRune(r) + "; possible are letters, digits, '-', '_' and '.'"
		}
	}
	switch {
	case len(s) > maxLen:
		return "is longer than " + itoa(maxLen) + " characters"
	case s != "" && (!isAlnum(s[0]) || !isAlnum(s[len(s)-1])):
		return "doesn't begin and end with a letter or digit"
	}
	return ""
}

// keyProblem tells what is wrong with a label key: an optional DNS prefix and a
// slash, then a word.
func keyProblem(k string) string {
	name := k
	if prefix, rest, ok := strings.Cut(k, "/"); ok {
		name = rest
		if p := prefixProblem(prefix); p != "" {
			return p
		}
	}
	if name == "" {
		return "has no name"
	}
	return wordProblem(name, MaxLabelKey)
}

func prefixProblem(prefix string) string {
	if prefix == "" || len(prefix) > MaxLabelPrefix {
		return "has a prefix that isn't 1 to " + itoa(MaxLabelPrefix) + " characters long"
	}
	for part := range strings.SplitSeq(prefix, ".") {
		bad := part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-'
		for i := range len(part) {
			c := part[i]
			bad = bad || c != '-' && (!isAlnum(c) || c >= 'A' && c <= 'Z')
		}
		if bad {
			return "has a prefix that isn't a lower-case DNS name"
		}
	}
	return ""
}

func validateLabelKey(k string) error {
	if p := keyProblem(k); p != "" {
		return Errorf(Invalid, "labels: key %.80q %s", k, p)
	}
	return nil
}

// validateLabelValue allows more than a selector can name: text for people.
func validateLabelValue(v string) error {
	if len(v) > MaxLabelValue {
		return Errorf(Invalid, "labels: value %.40q... is %d bytes, at most %d", v, len(v), MaxLabelValue)
	}
	if !utf8.ValidString(v) {
		return Errorf(Invalid, "labels: value %.80q isn't valid UTF-8", v)
	}
	for _, r := range v {
		if !unicode.IsPrint(r) {
			return Errorf(Invalid, "labels: value %.80q contains the unprintable %U", v, r)
		}
	}
	return nil
}
