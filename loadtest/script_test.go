package loadtest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/runner"
)

func TestParseScript(t *testing.T) {
	for text, want := range map[string][]Step{
		"":                                nil,
		"# nothing; really\n\n ;; ":       nil,
		"echo":                            {{Output: "\n"}},
		"echo hello\n":                    {{Output: "hello\n"}},
		"echo  two   words ; echo more":   {{Output: "two words\nmore\n"}},
		"echo hello; sleep 10; echo bye":  {{Output: "hello\n"}, {Sleep: 10 * time.Second, Output: "bye\n"}},
		"sleep 0.25\nsleep 1\necho a\n":   {{Sleep: 250 * time.Millisecond}, {Sleep: time.Second, Output: "a\n"}},
		"#!/bin/sh\n# a note\necho grüße": {{Output: "grüße\n"}},
	} {
		got, err := ParseScript(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	steps := []Step{{Output: "a\n"}, {Sleep: time.Second}, {Sleep: 2 * time.Second, Output: "b\n"}}
	if Printed(steps) != "a\nb\n" || Lasting(steps) != 3*time.Second {
		t.Errorf("prints %q, lasts %v", Printed(steps), Lasting(steps))
	}
}

// TestParseScriptRefuses holds that what a shell would do otherwise is refused, with what it is.
func TestParseScriptRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"uptime":          `the command "uptime"`,
		"echo -n a":       `the command "echo -n a"`,
		"sleep":           `the command "sleep"`,
		"sleep 1 2":       `the command "sleep 1 2"`,
		"sleep 1s":        `a sleep of "1s"`,
		"sleep -1":        `a sleep of "-1"`,
		"sleep NaN":       `a sleep of "NaN"`,
		"sleep 1e300":     `a sleep of "1e300"`,
		"echo $HOME":      `'$' in "echo $HOME"`,
		"echo 'a b'":      `'\'' in`,
		`echo "a"`:        `'"' in`,
		"echo a > /tmp/b": `'>' in`,
		"echo a | cat":    `'|' in`,
		"echo a & echo b": `'&' in`,
		"echo `id`":       "'`' in",
		"echo a # b":      `'#' in`,
		"echo \\":         `'\\' in`,
		"A=1":             `'=' in`,
	} {
		_, err := ParseScript("echo first\n" + text)
		var refused *runner.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, want) {
			t.Errorf("%q: %v, want ...%s", text, err, want)
		}
	}
}
