package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

func TestHosts(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", map[string]string{"role": "web"}).hello()
	b.enroll("web-2", map[string]string{"role": "web"})
	b.enroll("db-1", map[string]string{"role": "db"})
	list := func(query string) string {
		t.Helper()
		var ids []string
		for _, h := range read[api.HostList](b.ask("GET", "/v1/hosts"+query, b.operator(), nil).is(200, "")).Hosts {
			ids = append(ids, h.ID)
		}
		return strings.Join(ids, " ")
	}
	for query, want := range map[string]string{
		"":                                    "db-1 web-1 web-2",
		"?selector=role%3Dweb":                "web-1 web-2",
		"?selector=role%20in%20(db)":          "db-1",
		"?online=true":                        "web-1",
		"?online=false&selector=role%3Dweb":   "web-2",
		"?limit=1":                            "db-1",
		"?selector=role%3Dnone":               "",
		"?selector=%21role&online=true":       "",
		"?selector=role%3Dweb&limit=1&after=": "web-1",
	} {
		if got := list(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	h := read[api.Host](b.ask("PATCH", "/v1/hosts/web-1", b.operator(), `{"labels":{"site":"a","role":null}}`).is(200, ""))
	if len(h.Labels) != 1 || h.Labels["site"] != "a" || !h.Online || h.Transport != "poll" || h.AgentVersion != "test" {
		t.Errorf("%+v", h)
	}
	read[api.Host](b.ask("PATCH", "/v1/hosts/web-1", b.operator(), `{"resolve_duplicate":true}`).is(200, ""))
	job := b.submit(api.JobRequest{Script: "true", Hosts: []string{"web-2"}})
	b.inState(job.ID, "web-2", "queued")
	q := read[api.ExecutionList](b.ask("GET", "/v1/hosts/web-2/queue", b.operator(), nil).is(200, ""))
	if len(q.Executions) != 1 || q.Executions[0].Job != job.ID {
		t.Errorf("%+v", q)
	}
}

// A revoked host is shut out at once, and so is the key of a host that was enrolled anew.
func TestRevokeAndEnrolAnew(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", nil)
	m.hello()
	job := b.submit(api.JobRequest{Script: "true", All: true})
	b.inState(job.ID, "web-1", "queued")
	polled := make(chan *answer)
	go func() {
		m.take()
		polled <- b.ask("GET", m.pollPath("50s"), m.token(), nil)
	}()
	b.inState(job.ID, "web-1", "leased")
	until(t, "the poll is held", func() bool { return b.g.polls.Stats().Held == 1 })
	b.ask("POST", "/v1/hosts/web-1/revoke", b.operator(), nil).is(204, "")
	b.ask("POST", "/v1/hosts/web-1/revoke", b.operator(), nil).is(204, "")
	if a := <-polled; a.status < 400 {
		t.Errorf("the held poll ended with %d %s", a.status, a.body)
	}
	b.ask("GET", m.pollPath("0s"), m.token(), nil).is(403, codeRevoked)
	m.post(&wire.Hello{Generation: "g", Nonce: "n"}).is(403, codeRevoked)
	b.inState(job.ID, "web-1", "cancelled")
	x := read[api.Execution](b.ask("GET", "/v1/jobs/"+job.ID+"/executions/web-1", b.operator(), nil).is(200, ""))
	if x.Result == nil || !strings.Contains(x.Result.Reason, "revoked") {
		t.Errorf("ended with %+v", x.Result)
	}
	b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", Hosts: []string{"web-1"}}).is(404, "not_found")

	// Only a token that may replace lets it back.
	token := func(r api.EnrollTokenRequest) string {
		t.Helper()
		return read[api.EnrollToken](b.ask("POST", "/v1/tokens/enroll", b.operator(), r).is(201, "")).Token
	}
	b.enrollWith(m, token(api.EnrollTokenRequest{})).is(403, "forbidden")
	fresh := &machine{b: b, id: "web-1"}
	answer := read[wire.EnrollAnswer](b.enrollWith(fresh, token(api.EnrollTokenRequest{Replace: true})).is(200, ""))
	if answer.Incarnation != 2 || time.Since(time.UnixMilli(answer.Time)).Abs() > time.Minute {
		t.Errorf("%+v", answer)
	}
	b.ask("GET", m.pollPath("0s"), m.token(), nil).is(401, codeUnauthenticated)
	fresh.hello()
	// The key of before fails at once on the gateway that enrolled, though it was believed a moment ago.
	newer := &machine{b: b, id: "web-1"}
	b.enrollWith(newer, token(api.EnrollTokenRequest{Replace: true})).is(200, "")
	b.ask("GET", fresh.pollPath("0s"), fresh.token(), nil).is(401, codeUnauthenticated)
	newer.hello()

	b.ask("DELETE", "/v1/hosts/web-1", b.operator(), nil).is(204, "")
	b.ask("GET", "/v1/hosts/web-1", b.operator(), nil).is(404, "not_found")
	b.ask("GET", newer.pollPath("0s"), newer.token(), nil).is(401, codeUnauthenticated)
	b.ask("GET", "/v1/jobs/"+job.ID+"/executions/web-1", b.operator(), nil).is(200, "")
}

func TestEnrol(t *testing.T) {
	b := newBed(t)
	token := func(r api.EnrollTokenRequest) string {
		t.Helper()
		e := read[api.EnrollToken](b.ask("POST", "/v1/tokens/enroll", b.operator(), r).is(201, ""))
		if life := time.Until(e.Expires); life < 59*time.Minute || life > time.Hour {
			t.Errorf("lives for %v", life)
		}
		return e.Token
	}
	two := token(api.EnrollTokenRequest{Hosts: "web-*", Uses: 2, Labels: map[string]string{"role": "web"}})
	m := &machine{b: b, id: "web-1"}
	a := read[wire.EnrollAnswer](b.enrollWith(m, two).is(200, ""))
	if a.Host != "web-1" || a.Incarnation != 1 || a.Labels["role"] != "web" {
		t.Errorf("%+v", a)
	}
	if again := read[wire.EnrollAnswer](b.enrollWith(m, two).is(200, "")); again.Incarnation != 1 {
		t.Errorf("a repeat: %+v", again)
	}
	b.enrollWith(&machine{b: b, id: "db-1"}, two).is(403, "forbidden")
	b.enrollWith(&machine{b: b, id: "web-1"}, two).is(409, "conflict")
	b.enrollWith(&machine{b: b, id: "web-2"}, two).is(200, "")
	b.enrollWith(&machine{b: b, id: "web-3"}, two).is(403, "forbidden")
	b.ask("POST", wire.PathEnroll, two, `{"host":"web-9","public_key":"AA=="}`).is(400, "invalid")
	b.ask("POST", wire.PathEnroll, two, `{"host":7}`).is(400, "invalid")
	// A newer agent may say more than is known here.
	if a := b.ask("POST", wire.PathEnroll, two, `{"host":"web-1","more":true}`); strings.Contains(string(a.body), "more") {
		t.Errorf("%s", a.body)
	}
	if l := read[api.HostList](b.ask("GET", "/v1/hosts", b.operator(), nil)); len(l.Hosts) != 2 {
		t.Errorf("%d hosts", len(l.Hosts))
	}
}
