package queue

import (
	"strings"
	"testing"
)

func TestSelectorMatches(t *testing.T) {
	labels := map[string]string{"role": "web", "example.com/zone": "eu-1", "empty": "", "in": "x"}
	for _, c := range []struct {
		in, canonical string
		want          bool
	}{
		{"", "", true},
		{" \t", "", true},
		{"role=web", "role=web", true},
		{" role == web ", "role=web", true},
		{"role!=web", "role!=web", false},
		{"missing!=web", "missing!=web", true},
		{"role", "role", true},
		{"! missing", "!missing", true},
		{"!role", "!role", false},
		{"role in (db,web)", "role in (db,web)", true},
		{"role in(web , db,web)", "role in (db,web)", true},
		{"role in (db)", "role=db", false},
		{"role notin (web)", "role!=web", false},
		{"role notin (db,app)", "role notin (app,db)", true},
		{"missing notin (a,b)", "missing notin (a,b)", true},
		{"missing in (,a)", "missing in (,a)", false},
		{"empty in (a,)", "empty in (,a)", true},
		{"empty=", "empty=", true},
		{"empty=,role=web", "empty=,role=web", true},
		{"role!=", "role!=", true},
		{"in in (x)", "in=x", true},
		{"notin,in", "in,notin", false},
		{"role=web,example.com/zone=eu-1", "example.com/zone=eu-1,role=web", true},
		{"role=web,role=web", "role=web", true},
		{"role=web,role=db", "role=db,role=web", false},
	} {
		s, err := ParseSelector(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if got := s.String(); got != c.canonical {
			t.Errorf("%q: canonical %q, want %q", c.in, got, c.canonical)
		}
		if got := s.Matches(labels); got != c.want {
			t.Errorf("%q matches: %v, want %v", c.in, got, c.want)
		}
		if s.Empty() != (c.canonical == "") {
			t.Errorf("%q: Empty %v", c.in, s.Empty())
		}
	}
	if !(Selector{}).Matches(nil) {
		t.Error("the zero selector doesn't match a host without labels")
	}
}

func TestSelectorErrors(t *testing.T) {
	for in, want := range map[string]string{
		",":             `character 1: found ',', expected a label key`,
		"a,":            `character 3: found the end, expected a label key`,
		"a b":           `character 3: found "b", expected an operator: =, ==, !=, in, notin`,
		"a=b c":         `character 5: found 'c', expected ',' or the end`,
		"a=b=c":         `character 4: found '=', expected ',' or the end`,
		"a!b":           `character 3: found 'b', expected '=' after '!'`,
		"!":             `character 2: found the end, expected a label key`,
		"!a=b":          `character 3: found '=', expected ',' or the end`,
		"=b":            `character 1: found '=', expected a label key`,
		"a in":          `character 5: found the end, expected '(' after "in"`,
		"a in b":        `character 6: found 'b', expected '(' after "in"`,
		"a in ()":       `character 7: "in" needs at least one value`,
		"a in (b":       `character 8: found the end, expected ',' or ')'`,
		"a in (b c)":    `character 9: found 'c', expected ',' or ')'`,
		"a(b)":          `character 2: found '(', expected an operator: =, ==, !=, in, notin`,
		"a>1":           `character 1: key "a>1" contains '>'; possible are letters, digits, '-', '_' and '.'`,
		"a=ü":           `character 3: value "ü" contains 'ü'; possible are letters, digits, '-', '_' and '.'`,
		"a in (x,b/c)":  `character 9: value "b/c" contains '/'; possible are letters, digits, '-', '_' and '.'`,
		"a=-b":          `character 3: value "-b" doesn't begin and end with a letter or digit`,
		"-a":            `character 1: key "-a" doesn't begin and end with a letter or digit`,
		"/a":            `character 1: key "/a" has a prefix that isn't 1 to 253 characters long`,
		"Ex.com/a":      `character 1: key "Ex.com/a" has a prefix that isn't a lower-case DNS name`,
		"ex..com/a":     `character 1: key "ex..com/a" has a prefix that isn't a lower-case DNS name`,
		"ex.com/":       `character 1: key "ex.com/" has no name`,
		"ex.com/a/b":    `character 1: key "ex.com/a/b" contains '/'; possible are letters, digits, '-', '_' and '.'`,
		"ok,\xff":       `character 4: key "\xff" contains '�'; possible are letters, digits, '-', '_' and '.'`,
		"naïve=x,b=c d": `character 1: key "naïve" contains 'ï'; possible are letters, digits, '-', '_' and '.'`,
	} {
		_, err := ParseSelector(in)
		if CodeOf(err) != Invalid || err.Error() != "selector: "+want {
			t.Errorf("%q:\n got %v\nwant selector: %s", in, err, want)
		}
	}
	long := strings.Repeat("x", MaxLabelKey+1)
	for _, in := range []string{
		long,
		"a=" + strings.Repeat("x", MaxLabelValue+1),
		strings.Repeat("p", MaxLabelPrefix+1) + "/a",
		strings.Repeat("a,", MaxRequirements) + "a",
		"a in (" + strings.Repeat("b,", MaxSelectorValues) + "b)",
	} {
		if _, err := ParseSelector(in); CodeOf(err) != Invalid {
			t.Errorf("%.80q: %v, want Invalid", in, err)
		}
	}
}

func TestValidateLabels(t *testing.T) {
	good := map[string]string{
		"role": "", "example.com/role": "web server, Zürich (2nd floor)", "A.b_c-9": strings.Repeat("x", MaxLabelValue),
	}
	if err := ValidateLabels(good); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]map[string]string{
		"empty key":    {"": "x"},
		"space in key": {"a b": "x"},
		"upper prefix": {"EXAMPLE.com/a": "x"},
		"long value":   {"a": strings.Repeat("x", MaxLabelValue+1)},
		"newline":      {"a": "x\ny"},
		"escape":       {"a": "\x1b[31m"},
		"bidi":         {"a": "a\u202eb"},
		"not UTF-8":    {"a": "\xff"},
	} {
		if err := ValidateLabels(bad); CodeOf(err) != Invalid {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	many := map[string]string{}
	for i := range MaxLabels + 1 {
		many["k"+itoa(i)] = ""
	}
	if err := ValidateLabels(many); CodeOf(err) != Invalid {
		t.Errorf("%d labels: %v, want Invalid", len(many), err)
	}
}

// FuzzSelector holds that what parses has a canonical text that parses to the
// same, and that it matches the same labels.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"", "a=b", "!a,b in (c,,d)", "x/y notin (z)", "a in (b", "a==,b!=c", "in in (in)", "a=\xff"} {
		f.Add(s, "a", "b")
	}
	f.Fuzz(func(t *testing.T, in, key, value string) {
		s, err := ParseSelector(in)
		if err != nil {
			if CodeOf(err) != Invalid {
				t.Fatalf("%q: code %q", in, CodeOf(err))
			}
			return
		}
		text := s.String()
		again, err := ParseSelector(text)
		if err != nil {
			t.Fatalf("%q gives %q, which doesn't parse: %v", in, text, err)
		}
		if again.String() != text {
			t.Fatalf("%q gives %q, then %q", in, text, again)
		}
		labels := map[string]string{key: value}
		if s.Matches(labels) != again.Matches(labels) {
			t.Fatalf("%q and %q differ on %q", in, text, labels)
		}
	})
}
