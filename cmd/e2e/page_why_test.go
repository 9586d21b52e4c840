package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
)

// offline waits until the host is.
func (s *site) offline(host string) {
	s.t.Helper()
	clienttest.Until(s.t, host+" is offline", func() bool {
		out, _, code := s.rexctl("host", "list", "-o", "jsonl")
		return code == 0 && jsonLine(out, "id", host)["online"] == false
	})
}

// TestPageWhy follows the reason for which a host's job hasn't ended: it was never there, it is there, it is away,
// another job is ahead. None of that changes the execution.
func TestPageWhy(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	state := s.enrol("web-1")
	pipe := fifo(t, s.dir)
	first := s.detached("--host", "web-1", "--name", "the first", "--", fmt.Sprintf("echo one; read x < %s", pipe))
	p := s.page("#/jobs/" + first + "/web-1")
	p.matches(".why", `^The host has never connected since it was enrolled, .*\. It is kept for it until .*\.$`)
	p.click("summary", "Why not yet?")
	p.matches(".reasons h3", `never connected\s*1`)
	p.matches(".reasons li", `^web-1 The host has never connected`)

	agent := s.agent(state, nil)
	p.sees(".line", "one")
	p.matches(".why", `^Runs since \d\d:\d\d:\d\d, .*; its time limit is \S+\.$`)
	p.gone(".why", "never connected")
	second := s.detached("--host", "web-1", "--name", "the second", "--", "echo two")
	p.do("go", map[string]any{"url": s.url + "/#/jobs/" + second + "/web-1"})
	p.matches(".why", `^Behind job \S+ in lane default, running since \d\d:\d\d:\d\d\.$`)
	agent.kill()
	p.matches(".why", `^The host is offline since .*, .* s\. It is kept for it until`)
	ages := p.text(".why")
	clienttest.Until(t, "the age is counted", func() bool { return p.text(".why") != ages })

	s.agent(state, nil)
	p.click(".why a", first) // to what is ahead
	p.sees(".output .state", "running")
	unblock(t, s.dir)
	p.sees(".output .state", "succeeded")
	p.gone(".why", "")
	p.gone("summary", "Why not yet?")
	p.do("go", map[string]any{"url": s.url + "/#/jobs/" + second + "/web-1"})
	p.sees(".line", "two")
	p.sees(".output .state", "succeeded")
	p.gone(".why", "")
}

// TestPageWhyWithoutOutput is for somebody who may not read output: the execution and its reason are shown, and follow.
func TestPageWhyWithoutOutput(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	state := s.enrol("web-1")
	token := filepath.Join(s.dir, "token-reader")
	must(t, nil, "rexgate", "token", "operator", "--data-dir", filepath.Join(s.dir, "data"), "--subject", "reader", "--scopes", "jobs:read", "--out", token)
	b, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	job := s.detached("--host", "web-1", "--", "echo secret")
	p := openPage(t, s.url+"/#/jobs/"+job+"/web-1", hostOf(t, s.url))
	p.login(strings.TrimSpace(string(b)))
	p.sees(".output .fault", "lacks the scope output:read")
	p.matches(".why", "^The host has never connected")
	s.agent(state, nil)
	p.sees(".output .state", "succeeded")
	p.sees(".output .facts", "exit 0")
	p.gone(".why", "")
	if strings.Contains(p.text("#app"), "secret") {
		t.Error("the output is shown")
	}
}

// TestPageWhyHostile has reasons, hosts and policies that a gateway would never give: all of it is text.
func TestPageWhyHostile(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	s.enrol("web-1")
	s.enrol("web-2")
	const markup = `<img src=x onerror="globalThis.hacked=1">`
	job := s.detached("--all", "--supersede", markup, "--offline", "wait", "--", "true")
	mark := "\u202e" + markup
	waiting := func(host, code, text, behind string) map[string]any {
		return map[string]any{"host": host, "state": "queued", "why": map[string]any{"code": code, "text": text, "behind": behind}}
	}
	p := s.page("#/jobs/" + job)
	p.do("answer", map[string]any{"url": "**/executions?*", "json": map[string]any{"next": "more", "executions": []any{
		waiting(mark, mark, "Behind "+mark+" since 2025-01-02 03:04:05 UTC, 3s.", mark), waiting("web-1", "lane", "Behind job "+markup, "job"),
	}}})
	p.sees(".hosts .facts", "supersedes by "+markup)
	p.click("summary", "Why not yet?")
	shown := `\u202e` + markup
	p.sees(".reasons h3", `\u202e<img src=x`)
	p.sees(".reasons li", shown)
	p.matches(".reasons li", `^web-1 Behind job <img src=x`)
	p.sees(".reasons p", "Of the first 2 that haven't ended")
	if eval[bool](p, "'hacked' in globalThis") || eval[int](p, `document.querySelectorAll("#app img").length`) != 0 {
		t.Error("text became elements")
	}
	if links := eval[[]string](p, `[...document.querySelectorAll(".reasons a")].map((a) => a.getAttribute("href"))`); len(links) != 4 || strings.ContainsAny(strings.Join(links, ""), "<>\u202e\"") {
		t.Errorf("it links to %q", links)
	}
}

// TestPageLate has a host whose state was lost, so that what runs there is lost; then the state is found again, and the
// script's result comes late.
func TestPageLate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "redis")
	state := s.enrol("web-1")
	other := filepath.Join(s.dir, "reinstalled")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host.key", "host.json"} {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(other, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	agent := s.agent(state, nil)
	s.online("web-1")
	job := s.detached("--host", "web-1", "--", fmt.Sprintf("echo one; read x < %s; echo two", fifo(t, s.dir)))
	p := s.page("#/jobs/" + job + "/web-1")
	p.sees(".line", "one")
	agent.kill()
	p.matches(".why", `^Runs since \S+ as far as is known\. The host is offline since`)
	again := s.agent(other, nil)
	p.sees(".output .state", "lost")
	p.gone(".why", "")
	again.stop()
	s.offline("web-1")
	unblock(t, s.dir)
	s.agent(state, nil)
	p.matches(".output .facts", `lost[\s\S]*a late result came at \d\d:\d\d:\d\d: succeeded, exit 0`)
	p.sees(".output .state", "lost")
	p.sees(".line", "two")
}
