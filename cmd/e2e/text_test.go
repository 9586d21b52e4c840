package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// jsonLine gives the object of JSON lines whose field has the value, nil if there is none.
func jsonLine(text, field, value string) map[string]any {
	for line := range strings.Lines(text) {
		var o map[string]any
		if json.Unmarshal([]byte(line), &o) == nil && o[field] == value {
			return o
		}
	}
	return nil
}

// expect checks that a text has all the parts.
func expect(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %q is missing in:\n%s", what, part, text)
		}
	}
}
