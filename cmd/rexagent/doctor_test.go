package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway/auth"
)

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	p := rexagent(t, "", "doctor", "--state-dir", state)
	if code := p.ended(); code != 0 || !strings.Contains(p.out.String(), s.url) || strings.Contains(p.out.String(), "FAILED") {
		t.Errorf("status %d: %s", code, p.out.String())
	}
	p = rexagent(t, "", "doctor", "--state-dir", state, "--gateway", "http://127.0.0.1:1", "--json")
	if code := p.ended(); code != program.ExitFailed {
		t.Errorf("status %d: %s", code, p.out.String())
	}
	var checks []map[string]any
	if err := json.Unmarshal(p.out.Bytes(), &checks); err != nil || len(checks) == 0 || checks[0]["ok"] != false {
		t.Errorf("%s: %v", p.out.String(), err)
	}
}

func TestDoctorBeforeEnrolment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	none := filepath.Join(s.dir, "none")
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.url}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		stdin string
		code  int
		says  string
		args  []string
	}{
		"by URL":      {"", 0, "a gateway answers", []string{"--gateway", s.url}},
		"by token":    {token, 0, "a gateway answers", []string{"--token-file", "-"}},
		"not there":   {"", program.ExitFailed, "FAILED", []string{"--gateway", "http://127.0.0.1:1"}},
		"neither":     {"", program.ExitUsage, "--token-file", nil},
		"not a token": {"nonsense", program.ExitFailed, "enrolment token", []string{"--token-file", "-"}},
	} {
		p := rexagent(t, c.stdin, append([]string{"doctor", "--state-dir", none}, c.args...)...)
		if code := p.ended(); code != c.code || !strings.Contains(p.out.String()+p.err.String(), c.says) {
			t.Errorf("%s: status %d: %s%s", name, code, p.out.String(), p.err.String())
		}
	}
	if exists(none) {
		t.Error("it made the state directory")
	}
}
