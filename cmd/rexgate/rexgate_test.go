package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rexgate/rexgate/gateway/api"
)

func TestFirstStartTokenAndEnd(t *testing.T) {
	dir := t.TempDir()
	fails(t, runs(t, rexgate(t, dir, "token", "operator")), 1, "rexgate-data/operators.key", "rexgate serve makes it")
	s := serve(t, dir)
	if !strings.Contains(s.out, "rexgate-data/rexgate.db") {
		t.Errorf("says %q", s.out)
	}
	r := runs(t, rexgate(t, dir, "token", "operator", "--subject", "ci", "--scopes", "jobs:read", "--ttl", "1m"))
	if r.status != 0 || r.err != "" || strings.Count(r.out, "\n") != 1 {
		t.Fatalf("%+v", r)
	}
	if status, body := s.ask("GET", "/v1/jobs", r.out, nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := s.ask("GET", "/v1/hosts", r.out, nil); status != 403 {
		t.Errorf("beyond its scopes: %d", status)
	}
	r = runs(t, rexgate(t, dir, "token", "operator", "--out", "cfg/token"))
	info, err := os.Stat(filepath.Join(dir, "cfg/token"))
	if r.status != 0 || err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%+v %v %v", r, info, err)
	}
	fails(t, runs(t, rexgate(t, dir, "token", "operator", "--scopes", "all")), 2, "--scopes", "all")

	// A second gateway on the same file, and another on the same port.
	fails(t, runs(t, rexgate(t, dir, "serve", "--listen", "127.0.0.1:0")), 1, "rexgate-data/rexgate.db", "in use by another process")
	fails(t, runs(t, rexgate(t, dir, "serve", "--data-dir", "other", "--listen", strings.TrimPrefix(s.url, "http://"))), 1, "can't listen on "+strings.TrimPrefix(s.url, "http://"), "address already in use")

	rest, status := s.end(syscall.SIGTERM)
	if status != 0 || !strings.Contains(rest, "rexgate token operator --data-dir rexgate-data") {
		t.Errorf("%d, said %q", status, rest)
	}
	// Whatever failed at its first start: the next one still says what to do.
	s = serve(t, dir, "--data-dir", "other")
	if rest, _ := s.end(syscall.SIGINT); !strings.Contains(rest, "--data-dir other") {
		t.Errorf("said %q", rest)
	}
	s = serve(t, dir)
	if rest, status := s.end(syscall.SIGINT); status != 0 || rest != "people watch jobs in a browser at "+s.url+"/\n" {
		t.Errorf("the second start: %d, said %q", status, rest)
	}
}

// What was answered with 2xx is there after kill -9.
func TestSubmitSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir)
	token := runs(t, rexgate(t, dir, "token", "operator")).out
	status, body := s.ask("POST", "/v1/tokens/enroll", token, api.EnrollTokenRequest{})
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	var made api.EnrollToken
	if err := json.Unmarshal(body, &made); err != nil {
		t.Fatal(err)
	}
	enroll(t, s, made.Token, "web-1")
	var jobs []string
	for range 20 {
		status, body := s.ask("POST", "/v1/jobs", token, api.JobRequest{Script: "true", All: true})
		var j api.Job
		if err := json.Unmarshal(body, &j); err != nil || status != 201 {
			t.Fatalf("%d %s", status, body)
		}
		jobs = append(jobs, j.ID)
	}
	s.end(syscall.SIGKILL)
	s = serve(t, dir)
	for _, id := range jobs {
		if status, body := s.ask("GET", "/v1/jobs/"+id, token, nil); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args   []string
		status int
		says   []string
	}{
		{[]string{"serve", "--listen", "0.0.0.0:0"}, 2, []string{"--listen", "plain HTTP", "--tls-cert", "--behind-proxy"}},
		{[]string{"serve", "--listen", ":0"}, 2, []string{"plain HTTP"}},
		{[]string{"serve", "--listen", "8080"}, 2, []string{"--listen", "HOST:PORT"}},
		{[]string{"serve", "--tls-cert", "x"}, 2, []string{"--tls-key"}},
		{[]string{"serve", "--tls-cert", "none.pem", "--tls-key", "none.pem"}, 1, []string{"none.pem"}},
		{[]string{"serve", "--tls-ca", file("ca.pem", "junk")}, 1, []string{"--tls-ca", "ca.pem"}},
		{[]string{"serve", "--public-url", "gate"}, 2, []string{"--public-url"}},
		{[]string{"serve", "--log-format", "xml"}, 2, []string{"--log-format"}},
		{[]string{"serve", "--poll-rate", "0"}, 2, []string{"--poll-rate"}},
		{[]string{"serve", "--poll-interval", "0s"}, 2, []string{"--poll-interval"}},
		{[]string{"serve", "--store-bytes", "many"}, 2, []string{"--store-bytes", "10GiB"}},
		{[]string{"serve", "--redis", "redis://:secret@127.0.0.1:1"}, 2, []string{"--redis-password-file"}},
		{[]string{"serve", "--redis", "redis://127.0.0.1:1/0"}, 1, []string{"redis://127.0.0.1:1/0", "refused"}},
		{[]string{"serve", "--redis", "mysql://x"}, 1, []string{"mysql"}},
		{[]string{"serve", "--data-dir", file("plain", "") + "/sub"}, 1, []string{"data directory", "plain"}},
		{[]string{"serve", "extra"}, 2, []string{"extra"}},
		{[]string{"serve", "--nonsense"}, 2, []string{"nonsense"}},
		{[]string{"nonsense"}, 2, []string{"nonsense"}},
		{[]string{"serve", "--config", file("a.yaml", "listen: 127.0.0.1:0\nlisten-on: x\n")}, 2, []string{"a.yaml:2", `"listen-on"`}},
		{[]string{"check-config", "--config", file("b.yaml", "poll-rate: fast\n")}, 2, []string{"b.yaml:1", "poll-rate"}},
		{[]string{"check-config", "--redis", "redis://127.0.0.1:1", "--redis-password-file", "none"}, 1, []string{"--redis-password-file", "none"}},
		{[]string{"check-config", "--config", "none.yaml"}, 2, []string{"none.yaml"}},
		{[]string{"check-config", "--redis", "mysql://x"}, 1, []string{"--redis", "mysql"}},
		{[]string{"check-config", "--redis", "redis://h:1/0?pool_size=many"}, 1, []string{"--redis", "pool_size"}},
		{[]string{"check-config", "--redis", "redis+sentinel://h:1"}, 1, []string{"--redis", "master"}},
		{[]string{"check-config", "--operator-key", file("rsa.key", rsaKey(t))}, 1, []string{"rsa.key", "Ed25519"}},
		{[]string{"check-config", "--operator-key", file("junk.key", "junk")}, 1, []string{"junk.key", "PEM"}},
		{[]string{"check-config", "--data-dir", "plain"}, 1, []string{"--data-dir", "plain"}},
		{[]string{"check-config", "--data-dir", "plain/sub"}, 1, []string{"--data-dir", "plain/sub"}},
		{[]string{"check-config", "--listen", "127.0.0.1:65536"}, 2, []string{"--listen", "65536"}},
		{[]string{"check-config", "--admin-listen", "127.0.0.1:-1"}, 2, []string{"--admin-listen", "-1"}},
		{[]string{"serve", "--listen", "127.0.0.1:99999"}, 2, []string{"--listen", "99999"}},
		{[]string{"demo", "--listen", "0.0.0.0:0"}, 2, []string{"--listen", "loopback", "0.0.0.0:0"}},
		{[]string{"demo", "--listen", ":0"}, 2, []string{"loopback"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			r := runs(t, rexgate(t, dir, c.args...))
			fails(t, r, c.status, c.says...)
			if strings.Contains(r.err, "secret@") {
				t.Errorf("tells the password: %s", r.err)
			}
		})
	}
}

func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	conf := "listen: 127.0.0.1:9\npoll-rate: 100\nstore-bytes: 2GiB\nredis: redis://u:pw@localhost:6379/0\n"
	if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := rexgate(t, dir, "check-config", "--config", "c.yaml", "--name", "g1")
	cmd.Env = append(cmd.Env, "REXGATE_POLL_RATE=200", "REXGATE_PORT=tcp://10.0.0.1:8080")
	r := runs(t, cmd)
	if r.status != 0 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	for name, want := range map[string]string{
		"listen": "127.0.0.1:9 # c.yaml:1", "poll-rate": `"200" # REXGATE_POLL_RATE`, "store-bytes": "2GiB # c.yaml:3",
		"name": "g1 # flag", "drain-time": "30s # default", "redis": "redis://u:xxxxx@localhost:6379/0 # c.yaml:4",
	} {
		want = name + ": " + want
		found := false
		for _, line := range strings.Split(r.out, "\n") {
			found = found || strings.Join(strings.Fields(line), " ") == want
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, r.out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "rexgate-data")); err == nil {
		t.Error("check-config made something")
	}
}

func TestSettingsReachTheGateway(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := ln.Addr().String()
	ln.Close()
	s := serve(t, dir, "--admin-listen", admin, "--public-url", "https://gate.example/", "--log-format", "json")
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("metrics: %d", resp.StatusCode)
	}
	token := runs(t, rexgate(t, dir, "token", "operator")).out
	_, body := s.ask("POST", "/v1/tokens/enroll", token, api.EnrollTokenRequest{})
	var made api.EnrollToken
	if err := json.Unmarshal(body, &made); err != nil {
		t.Fatal(err)
	}
	if url := claim(t, made.Token, "url"); url != "https://gate.example" {
		t.Errorf("the token's URL is %q", url)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]string{"0": "0", "1024": "1KiB", "1536": "1536", "3 GiB": "3GiB", "512MiB": "512MiB", "2048GiB": "2TiB", "7B": "7"} {
		var s size
		if err := s.Set(text); err != nil || s.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, s.String(), err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5GiB", "99999999TiB"} {
		if err := new(size).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestHidePassword(t *testing.T) {
	for url, want := range map[string]string{
		"redis://host:6379/0":                    "redis://host:6379/0 false",
		"redis://u:pw@host:6379/0":               "redis://u:xxxxx@host:6379/0 true",
		"redis://:pw@h1:1,h2:2":                  "redis://:xxxxx@h1:1,h2:2 true",
		"redis://h1:1,h2:2":                      "redis://h1:1,h2:2 false",
		"redis+sentinel://:p@w@h1:1,h2:2/main/0": "redis+sentinel://:xxxxx@h1:1,h2:2/main/0 true",
		"redis://host/0?password=pw":             "redis://host/0?xxxxx true",
	} {
		hidden, secret := hidePassword(url)
		if got := fmt.Sprint(hidden, " ", secret); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	dir := t.TempDir()
	r := runs(t, rexgate(t, dir, "--version"))
	if r.status != 0 || !strings.HasPrefix(r.out, "rexgate version ") {
		t.Errorf("%+v", r)
	}
	r = runs(t, rexgate(t, dir))
	if r.status != 0 || !strings.Contains(r.out, "serve") {
		t.Errorf("%+v", r)
	}
	r = runs(t, rexgate(t, dir, "serve", "--help"))
	if r.status != 0 || !strings.Contains(r.out, "--behind-proxy") {
		t.Errorf("%+v", r)
	}
}
