package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

// site is a gateway with an operator who may do everything.
type site struct {
	t     *testing.T
	dir   string
	gate  *proc
	url   string
	serve []string // arguments of serve, for a restart
	env   []string // of rexctl

	enrolEnv []string // of rexagent enroll
}

// newSite starts a gateway on a store: "sqlite" or "redis".
func newSite(t *testing.T, store string, args ...string) *site {
	t.Helper()
	return newSiteIn(t, t.TempDir(), store, args...)
}

// newSiteIn is newSite in a directory, in which "data" is the gateway's.
func newSiteIn(t *testing.T, dir, store string, args ...string) *site {
	t.Helper()
	s := &site{t: t, dir: dir}
	s.serve = append([]string{"serve", "--data-dir", filepath.Join(s.dir, "data"), "--listen", "127.0.0.1:0"}, args...)
	if store == "redis" {
		clienttest.Program(t, "redis-server")
		s.serve = append(s.serve, "--redis", redistest.Start(t).URL)
	}
	s.up()
	token := filepath.Join(s.dir, "token")
	must(t, nil, "rexgate", "token", "operator", "--data-dir", filepath.Join(s.dir, "data"), "--subject", "tester", "--out", token)
	s.env = []string{"REXCTL_SERVER=" + s.url, "REXCTL_TOKEN_FILE=" + token, "HOME=" + s.dir}
	return s
}

// up starts the gateway and learns where it listens.
func (s *site) up() {
	s.t.Helper()
	s.gate = start(s.t, nil, "rexgate", s.serve...)
	s.url = s.gate.out.waitFor(s.t, `listens on (https?://\S+),`)[1]
}

// rexctl runs the operator's CLI.
func (s *site) rexctl(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return run(s.t, s.env, "rexctl", args...)
}

// enrol makes a host of this name and gives its state directory.
func (s *site) enrol(host string, args ...string) string {
	s.t.Helper()
	token := filepath.Join(s.dir, "enrol-"+host)
	text := must(s.t, s.env, "rexctl", append([]string{"token", "enroll"}, args...)...)
	if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	state := filepath.Join(s.dir, "host-"+host)
	must(s.t, s.enrolEnv, "rexagent", "enroll", "--state-dir", state, "--token-file", token, "--host", host)
	return state
}

// agent starts the agent of an enrolled host.
func (s *site) agent(state string, env []string, args ...string) *proc {
	s.t.Helper()
	return start(s.t, env, "rexagent", append([]string{"run", "--state-dir", state, "--allow-root"}, args...)...)
}

// online waits until the host is.
func (s *site) online(host string) {
	s.t.Helper()
	clienttest.Until(s.t, host+" is online", func() bool {
		out, _, code := s.rexctl("host", "list", "-o", "jsonl")
		return code == 0 && jsonLine(out, "id", host)["online"] == true
	})
}
