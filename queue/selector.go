package queue

// Selector is a label selector in Kubernetes' syntax: requirements joined by
// commas, all of which must hold: "a=b", "a==b", "a!=b", "a in (b,c)",
// "a notin (b,c)", "a", "!a". The zero value matches every host. As in
// Kubernetes, "!=" and "notin" also match hosts without the key.
type Selector struct {
	requirements []requirement
}

type requirement struct {
	key    string
	op     string // "=", "!=", "in", "notin", "exists", "!"
	values []string
}

// ParseSelector reads a selector. Errors: Invalid, with the position.
func ParseSelector(s string) (Selector, error) { panic("being written") }

// Matches tells whether the labels satisfy the selector.
func (s Selector) Matches(labels map[string]string) bool { panic("being written") }

// String gives the canonical text, which ParseSelector reads.
func (s Selector) String() string { panic("being written") }

// Empty tells whether the selector matches every host.
func (s Selector) Empty() bool { return len(s.requirements) == 0 }

func validateLabelKey(k string) error   { panic("being written") }
func validateLabelValue(v string) error { panic("being written") }
