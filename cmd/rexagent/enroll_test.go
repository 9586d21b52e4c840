package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway/auth"
)

// TestEnrolAgain under a running agent, which goes on with what it has read.
func TestEnrolAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.url}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again := func(want bool) {
		t.Helper()
		p := rexagent(t, token, "enroll", "--token-file", "-", "--state-dir", state, "--host", "h")
		if code := p.ended(); code != 0 || !strings.Contains(p.out.String(), "Enrolled as h") || strings.Contains(p.out.String(), "restart rexagent run") != want {
			t.Errorf("status %d: %s%s", code, p.out.String(), p.err.String())
		}
	}
	again(false) // nothing ran yet
	first := s.run(state)
	s.ends(s.submit("h", "true"), "h") // it runs
	again(true)
	first.stop(syscall.SIGTERM)
	again(false)
}

// TestRevoked in mid-session or before the start: it ends with the status that says not to
// start it again, and doctor doesn't call that well.
func TestRevoked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	state := s.enrol("h")
	polls := s.run(state, "--transport", "poll")
	s.ends(s.submit("h", "true"), "h") // it runs
	if err := s.RevokeHost(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	check := func(p *proc) {
		t.Helper()
		if code := p.ended(); code != exitStayAway || !strings.Contains(p.err.String(), "revoked") {
			t.Errorf("%q: status %d: %s", p.Args[1:], code, p.err.String())
		}
	}
	check(polls)
	for _, transport := range []string{"socket", "poll", "auto"} {
		check(s.run(state, "--transport", transport))
		check(s.run(state, "--transport", transport, "--once"))
	}
	p := rexagent(t, "", "doctor", "--state-dir", state)
	if code := p.ended(); code != program.ExitFailed || !strings.Contains(p.out.String(), "enrol it anew") {
		t.Errorf("status %d: %s", code, p.out.String())
	}
}
