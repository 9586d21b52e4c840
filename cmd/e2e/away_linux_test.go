package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue/queuetest"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
)

var awayFor = flag.Duration("away.for", 0, "how long TestStoreAway takes the store away at least; beyond 7 minutes, the brief job's silence would be over")

// TestStoreAway takes the store away in the middle of scripts: sessions stay up, submits are told when to come again, the hosts
// go on with their scripts and keep what they wrote; all of it lands when the store is back, and nothing is lost however long that took.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	away := map[string]func(t *testing.T) (s *site, away, back func()){
		"sqlite, its disk full": func(t *testing.T) (*site, func(), func()) {
			d, dir := queuetest.NewDisk(t, 16<<20), t.TempDir()
			if err := os.Symlink(d.Dir, filepath.Join(dir, "data")); err != nil {
				t.Fatal(err)
			}
			return newSiteIn(t, dir, "sqlite"), d.Fill, d.Free
		},
		"redis, killed": func(t *testing.T) (*site, func(), func()) {
			clienttest.Program(t, "redis-server")
			srv := redistest.Start(t)
			return newSite(t, "on", "--redis", srv.URL), srv.Kill, srv.Restart
		},
		"redis, stopped": func(t *testing.T) (*site, func(), func()) {
			clienttest.Program(t, "redis-server")
			srv := redistest.Start(t)
			return newSite(t, "on", "--redis", srv.URL), srv.Pause, srv.Resume
		},
		"redis, its disk full": func(t *testing.T) (*site, func(), func()) {
			clienttest.Program(t, "redis-server")
			d := queuetest.NewDisk(t, 8<<20)
			return newSite(t, "on", "--redis", redistest.Start(t, "--dir", d.Dir).URL), d.Fill, d.Free
		},
	}
	for name, begin := range away {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, away, back := begin(t)
			hosts := []string{"socket", "poll"}
			var agents []*proc
			for _, h := range hosts {
				agents = append(agents, s.agent(s.enrol(h), nil, "--transport", h))
				s.online(h)
			}
			count := filepath.Join(s.dir, "count-")
			id := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--",
				"i=0; until [ -e "+s.dir+"/end ]; do i=$((i+1)); echo line $i; echo $i > "+count+"${REXGATE_EXECUTION##*.}; sleep 0.05; done; echo the end"))
			lines := func(h string) int {
				b, _ := os.ReadFile(count + h)
				n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
				return n
			}
			for _, h := range hosts {
				clienttest.Until(t, "output of "+h+" is stored", func() bool {
					out, _, _ := s.rexctl("job", "logs", id, h)
					return strings.Contains(out, "line 5\n")
				})
			}
			brief := strings.TrimSpace(must(t, s.env, "rexctl", "job", "run", "--all", "--detach", "--lane", "urgent", "--run-timeout", "90s", "--",
				"echo begun; until [ -e "+s.dir+"/brief ]; do sleep 0.05; done; echo brief"))
			for _, h := range hosts {
				clienttest.Until(t, "the brief script of "+h+" runs", func() bool {
					out, _, _ := s.rexctl("job", "logs", brief, h)
					return strings.Contains(out, "begun\n")
				})
			}
			away()
			since := time.Now()
			s.refused()
			if err := os.WriteFile(filepath.Join(s.dir, "brief"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			before := []int{lines(hosts[0]), lines(hosts[1])}
			clienttest.Until(t, "the scripts go on", func() bool { return lines(hosts[0]) > before[0]+100 && lines(hosts[1]) > before[1]+100 })
			time.Sleep(*awayFor - time.Since(since))
			for i, a := range agents {
				if n := strings.Count(a.err.String(), "msg=connected"); n != 1 {
					t.Errorf("%s was connected %d times:\n%s", hosts[i], n, a.err)
				}
			}
			if err := os.WriteFile(filepath.Join(s.dir, "end"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			last := []int{0, 0}
			for i, h := range hosts { // they end while the store is away
				clienttest.Until(t, "the script of "+h+" ends", func() bool {
					n := lines(h)
					ended := n == last[i]
					last[i] = n
					time.Sleep(200 * time.Millisecond) // a script writes four lines meanwhile
					return ended
				})
			}
			back()
			if _, errs, code := s.rexctl("job", "watch", id); code != 0 || !strings.Contains(errs, "2 of 2 hosts succeeded") {
				t.Errorf("the job: status %d, %s", code, errs)
			}
			if _, errs, code := s.rexctl("job", "watch", brief); code != 0 || !strings.Contains(errs, "2 of 2 hosts succeeded") {
				t.Errorf("the brief job, which ended while the store was away: status %d, %s", code, errs)
			}
			for i, h := range hosts {
				var want strings.Builder
				for n := range last[i] {
					want.WriteString("line " + strconv.Itoa(n+1) + "\n")
				}
				want.WriteString("the end\n")
				if out := must(t, s.env, "rexctl", "job", "logs", id, h); out != want.String() {
					t.Errorf("output of %s: %d bytes, it wrote %d", h, len(out), want.Len())
				}
			}
		})
	}
}

// refused submits until the answer is 503, and looks at it. What is taken meanwhile, into room that there is yet, ends at once.
func (s *site) refused() {
	s.t.Helper()
	token, err := os.ReadFile(filepath.Join(s.dir, "token"))
	if err != nil {
		s.t.Fatal(err)
	}
	script := strings.Repeat("# a long line of a script that needs room\n", 1000)
	body, err := json.Marshal(api.JobRequest{Script: script + "true", Hosts: []string{"socket"}, Lane: "refused"})
	if err != nil {
		s.t.Fatal(err)
	}
	clienttest.Until(s.t, "submits are refused", func() bool {
		req, err := http.NewRequest("POST", s.url+"/v1/jobs", bytes.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		switch after, err := strconv.Atoi(resp.Header.Get("Retry-After")); {
		case resp.StatusCode == 503 && err == nil && after > 0:
			return true
		case resp.StatusCode/100 != 2:
			s.t.Fatalf("a submit without a store: %d, Retry-After %q, %s", resp.StatusCode, resp.Header.Get("Retry-After"), text)
		}
		return false
	})
}
