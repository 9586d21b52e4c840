package gateway

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// Bad input gets a precise error, is counted, and changes nothing.
func TestBadInput(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", nil)
	job := b.submit(api.JobRequest{Script: "true", Hosts: []string{"web-1"}})
	b.inState(job.ID, "web-1", "queued")
	host := "/v1/hosts/web-1"
	exec := "/v1/jobs/" + job.ID + "/executions"
	type body = map[string]any
	with := func(k string, v any) body { return body{"script": "true", "all": true, k: v} }
	snapshot := func() string {
		t.Helper()
		var all bytes.Buffer
		for _, path := range []string{"/v1/jobs?limit=1000", "/v1/hosts", exec} {
			all.Write(b.ask("GET", path, b.operator(), nil).is(200, "").body)
		}
		return all.String()
	}
	before := snapshot()
	for _, c := range []struct {
		name, method, path string
		body               any
		status             int
		code, detail       string
		items              string
	}{
		{"unknown field", "POST", "/v1/jobs", with("scirpt", "x"), 400, "invalid", `unknown field "scirpt"`, ""},
		{"field in capitals", "POST", "/v1/jobs", body{"SCRIPT": "x", "all": true}, 400, "invalid", `unknown field "SCRIPT"`, ""},
		{"field twice", "POST", "/v1/jobs", `{"script":"true","all":true,"script":"false"}`, 400, "invalid", "script: given twice", ""},
		{"variable twice", "POST", "/v1/jobs", `{"script":"true","all":true,"env":{"A":"1","B":"2","A":"3"}}`, 400, "invalid", "env.A: given twice", ""},
		{"escape in the name", "POST", "/v1/jobs", with("name", "a\x1b[2J"), 400, "invalid", "name: ", ""},
		{"empty script", "POST", "/v1/jobs", body{"script": "", "all": true}, 400, "invalid", "script: empty", ""},
		{"no script", "POST", "/v1/jobs", body{"all": true}, 400, "invalid", "script: empty", ""},
		{"oversized script", "POST", "/v1/jobs", with("script", strings.Repeat("x", queue.MaxScript+1)), 400, "invalid", "script: 1048577 bytes, at most 1048576", ""},
		{"oversized body", "POST", "/v1/jobs", strings.Repeat(" ", maxSubmitBody+1), 413, "too_large", "at most 16777216", ""},
		{"both scripts", "POST", "/v1/jobs", with("script_b64", "dHJ1ZQ=="), 400, "invalid", "both given", ""},
		{"bad base64", "POST", "/v1/jobs", body{"script_b64": "%", "all": true}, 400, "invalid", "script_b64: ", ""},
		{"not UTF-8", "POST", "/v1/jobs", "{\"script\":\"\xff\",\"all\":true}", 400, "invalid", "script_b64", ""},
		{"unknown hosts", "POST", "/v1/jobs", body{"script": "true", "hosts": []string{"web-1", "web-9", "web-8"}}, 404, "not_found", "web-", "web-8 web-9"},
		{"not a host id", "POST", "/v1/jobs", body{"script": "true", "hosts": []string{"a/b"}}, 400, "invalid", `host id "a/b"`, ""},
		{"duplicate hosts", "POST", "/v1/jobs", body{"script": "true", "hosts": []string{"web-1", "web-1"}}, 400, "invalid", "web-1 is named twice", "web-1"},
		{"no hosts", "POST", "/v1/jobs", body{"script": "true", "hosts": []string{}}, 400, "invalid", "hosts: none", ""},
		{"no target", "POST", "/v1/jobs", body{"script": "true"}, 400, "invalid", "give one of hosts, selector and all", ""},
		{"two targets", "POST", "/v1/jobs", with("selector", "a=b"), 400, "invalid", "2 are given", ""},
		{"malformed selector", "POST", "/v1/jobs", body{"script": "true", "selector": "role in (a"}, 400, "invalid", "selector", ""},
		{"selector of nobody", "POST", "/v1/jobs", body{"script": "true", "selector": "role=none"}, 400, "invalid", "no host matches role=none", ""},
		{"bad duration", "POST", "/v1/jobs", with("run_timeout", "5 minutes"), 400, "invalid", `run_timeout: "5 minutes" is not a duration`, ""},
		{"duration as number", "POST", "/v1/jobs", with("run_timeout", 5), 400, "invalid", "run_timeout: is a JSON number", ""},
		{"too long", "POST", "/v1/jobs", with("run_timeout", "10000h"), 400, "invalid", "run_timeout: 10000h0m0s", ""},
		{"priority", "POST", "/v1/jobs", with("priority", 101), 400, "invalid", "priority: 101", ""},
		{"wrong type", "POST", "/v1/jobs", with("priority", "high"), 400, "invalid", "priority: is a JSON string", ""},
		{"lane", "POST", "/v1/jobs", with("lane", "A B"), 400, "invalid", "lane", ""},
		{"env", "POST", "/v1/jobs", with("env", body{"A=B": "x"}), 400, "invalid", "env", ""},
		{"env type", "POST", "/v1/jobs", with("env", body{"A": 1}), 400, "invalid", "env", ""},
		{"dir", "POST", "/v1/jobs", with("dir", "relative"), 400, "invalid", "dir", ""},
		{"not_before", "POST", "/v1/jobs", with("not_before", "tomorrow"), 400, "invalid", "not_before", ""},
		{"not JSON", "POST", "/v1/jobs", "script=true", 400, "invalid", "not JSON", ""},
		{"cut JSON", "POST", "/v1/jobs", `{"script":`, 400, "invalid", "ends too early", ""},
		{"an array", "POST", "/v1/jobs", `[]`, 400, "invalid", "an object is needed", ""},
		{"two values", "POST", "/v1/jobs", `{"script":"true","all":true}{}`, 400, "invalid", "goes on after", ""},
		{"no body", "POST", "/v1/jobs", nil, 400, "invalid", "body is empty", ""},

		{"not a job id", "GET", "/v1/jobs/x", nil, 400, "invalid", `job id "x"`, ""},
		{"unknown job", "GET", "/v1/jobs/" + strings.Repeat("0", 26), nil, 404, "not_found", "", ""},
		{"unknown job's states", "GET", "/v1/jobs/" + strings.Repeat("0", 26) + "/states", nil, 404, "not_found", "", ""},
		{"unknown job's executions", "GET", "/v1/jobs/" + strings.Repeat("0", 26) + "/executions", nil, 404, "not_found", "", ""},
		{"unknown job's targets", "GET", "/v1/jobs/" + strings.Repeat("0", 26) + "/targets", nil, 404, "not_found", "", ""},
		{"cancel unknown", "POST", "/v1/jobs/" + strings.Repeat("0", 26) + "/cancel", nil, 404, "not_found", "", ""},
		{"rerun unknown", "POST", "/v1/jobs/" + strings.Repeat("0", 26) + "/rerun", nil, 404, "not_found", "", ""},
		{"no target of the job", "GET", exec + "/web-9", nil, 404, "not_found", "web-9", ""},
		{"output of no target", "GET", exec + "/web-9/output", nil, 404, "not_found", "web-9", ""},
		{"unknown parameter", "GET", exec + "?stat=failed", nil, 400, "invalid", `unknown parameter "stat"`, ""},
		{"unknown state", "GET", exec + "?state=done", nil, 400, "invalid", `state: "done" is unknown`, ""},
		{"bad limit", "GET", exec + "?limit=0", nil, 400, "invalid", "limit", ""},
		{"large limit", "GET", "/v1/jobs?limit=1001", nil, 400, "invalid", "limit", ""},
		{"limit twice", "GET", "/v1/jobs?limit=1&limit=2", nil, 400, "invalid", "limit: given 2 times", ""},
		{"bad cursor", "GET", "/v1/jobs?after=%00junk", nil, 400, "invalid", "cursor", ""},
		{"long cursor", "GET", "/v1/jobs?after=" + strings.Repeat("a", maxCursor+1), nil, 400, "invalid", "after", ""},
		{"bad query", "GET", "/v1/jobs?a;b", nil, 400, "invalid", "query", ""},
		{"bad wait", "GET", "/v1/jobs/" + job.ID + "?wait=long", nil, 400, "invalid", "wait", ""},
		{"long wait", "GET", "/v1/jobs/" + job.ID + "?wait=1h", nil, 400, "invalid", "wait", ""},
		{"bad stream", "GET", exec + "/web-1/output?stream=stdin", nil, 400, "invalid", "stream", ""},
		{"bad follow", "GET", exec + "/web-1/output?follow=perhaps", nil, 400, "invalid", "follow", ""},
		{"cancel unknown field", "POST", "/v1/jobs/" + job.ID + "/cancel", body{"host": "x"}, 400, "invalid", `unknown field "host"`, ""},
		{"cancel unknown state", "POST", "/v1/jobs/" + job.ID + "/cancel", body{"states": []string{"x"}}, 400, "invalid", "state", ""},
		{"cancel nothing", "POST", "/v1/jobs/" + job.ID + "/cancel", body{"hosts": []string{}}, 400, "invalid", "empty list", ""},
		{"cancel twice", "POST", "/v1/jobs/" + job.ID + "/cancel", body{"hosts": []string{"web-1", "web-1"}}, 400, "invalid", "twice", "web-1"},

		{"bad host selector", "GET", "/v1/hosts?selector=((", nil, 400, "invalid", "selector", ""},
		{"bad online", "GET", "/v1/hosts?online=maybe", nil, 400, "invalid", "online", ""},
		{"unknown host", "GET", "/v1/hosts/web-9", nil, 404, "not_found", "web-9", ""},
		{"queue of unknown host", "GET", "/v1/hosts/web-9/queue", nil, 404, "not_found", "web-9", ""},
		{"patch unknown host", "PATCH", "/v1/hosts/web-9", body{"labels": body{"a": "b"}}, 404, "not_found", "web-9", ""},
		{"revoke unknown host", "POST", "/v1/hosts/web-9/revoke", nil, 404, "not_found", "web-9", ""},
		{"delete unknown host", "DELETE", "/v1/hosts/web-9", nil, 404, "not_found", "web-9", ""},
		{"patch nothing", "PATCH", host, body{}, 400, "invalid", "nothing", ""},
		{"patch bad label", "PATCH", host, body{"labels": body{"bad key!": "x"}}, 400, "invalid", "label", ""},
		{"patch bad value", "PATCH", host, body{"labels": body{"a": strings.Repeat("x", 256)}}, 400, "invalid", "label", ""},
		{"patch id", "PATCH", host, body{"id": "x"}, 400, "invalid", `unknown field "id"`, ""},
		{"patch large", "PATCH", host, strings.Repeat(" ", maxBody+1), 413, "too_large", "65536", ""},

		{"token pattern", "POST", "/v1/tokens/enroll", body{"hosts": "[a"}, 400, "invalid", "hosts", ""},
		{"token uses", "POST", "/v1/tokens/enroll", body{"uses": -2}, 400, "invalid", "uses", ""},
		{"token life", "POST", "/v1/tokens/enroll", body{"ttl": "1000h"}, 400, "invalid", "ttl", ""},
		{"token url", "POST", "/v1/tokens/enroll", body{"url": "gate"}, 400, "invalid", "url", ""},
		{"token labels", "POST", "/v1/tokens/enroll", body{"labels": body{"": "x"}}, 400, "invalid", "label", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.ask(c.method, c.path, b.operator(), c.body).is(c.status, c.code).problem()
			if !strings.Contains(p.Detail, c.detail) {
				t.Errorf("says %q, want ...%s...", p.Detail, c.detail)
			}
			if got := strings.Join(p.Items, " "); c.items != "" && got != c.items {
				t.Errorf("items %q, want %q", got, c.items)
			}
		})
	}
	b.ask("POST", "/v1/jobs", b.operator(), `{"script":"true","all":true}`, "Content-Type", "text/plain").is(415, "media_type")
	r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(`{"script":"true","all":true}`))
	r.Header = http.Header{"Authorization": {"Bearer " + b.operator()}, "Content-Type": {"application/json", "text/plain"}}
	w := httptest.NewRecorder()
	b.g.ServeHTTP(w, r)
	(&answer{t: t, what: "two types", status: w.Code, header: w.Header(), body: w.Body.Bytes()}).is(415, "media_type")
	if after := snapshot(); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
	metrics := b.metrics()
	for _, want := range []string{`rexgate_problems_total{code="invalid",route="submit"} 3`, `rexgate_problems_total{code="not_found",route="submit"} 1`,
		`rexgate_problems_total{code="too_large",route="submit"} 1`, `rexgate_problems_total{code="media_type",route="submit"} 2`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("not counted: %s", want)
		}
	}
}

// What hosts say wrongly.
func TestBadInputOfHosts(t *testing.T) {
	b := newBed(t)
	m, other := b.enroll("one", nil), b.enroll("two", nil)
	m.hello()
	other.hello()
	job := b.submit(api.JobRequest{Script: "true", Hosts: []string{"one"}})
	j := m.take()
	state := func() api.Execution {
		x := read[api.Execution](b.ask("GET", "/v1/jobs/"+job.ID+"/executions/one", b.operator(), nil).is(200, ""))
		x.Why = nil // which tells how long ago
		return x
	}
	before := fmt.Sprint(state())
	post := func(session int64, body string) *answer {
		t.Helper()
		return b.ask("POST", fmt.Sprintf("%s?session=%d", wire.PathMessages, session), m.token(), body)
	}
	post(m.session, `{"type":"accepted"`).is(400, "invalid")
	post(m.session, `{"type":"output","execution":"`+j.Execution+`","seq":"x"}`).is(400, "invalid")
	post(m.session, `{"execution":"`+j.Execution+`"}`).is(400, "invalid")
	b.ask("POST", wire.PathMessages+"?session=1", m.token(), []byte("["+strings.Repeat(" ", wire.MaxFrame)+"]")).is(413, "too_large")
	// A lease token that isn't the lease's.
	stale := messages(m.post(&wire.Accepted{Execution: j.Execution, Seq: 1, At: 1, Token: "stale", Position: 1}))
	if a, ok := stale[0].(*wire.Ack); !ok || a.Verdict != wire.VerdictForget || a.Reason != "stale_token" {
		t.Errorf("a stale lease token: %+v", stale[0])
	}
	// Another host's execution, by events and by session.
	other.post(&wire.Accepted{Execution: j.Execution, Seq: 1, At: 1, Token: j.Token, Position: 1}).is(403, "forbidden")
	post(m.session+7, `{"type":"accepted","execution":"`+j.Execution+`","seq":1,"at":1,"token":"`+j.Token+`","position":1}`).is(409, "superseded")
	for _, path := range []string{"?session=x", "?session=1&after=x", "?session=1&after=0&wait=x"} {
		a := b.ask("GET", wire.PathPoll+path, m.token(), nil).is(400, "invalid")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	if after := fmt.Sprint(state()); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
	m.post(&wire.Accepted{Execution: j.Execution, Seq: 1, At: 1, Token: j.Token, Position: 1}).is(200, "")
}

func (b *bed) metrics() string {
	b.t.Helper()
	resp, err := http.Get(b.admin + "/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil || resp.StatusCode != 200 {
		b.t.Fatalf("metrics: %d %v", resp.StatusCode, err)
	}
	return text.String()
}
