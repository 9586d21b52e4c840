package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/session/wire"
)

// Every route is described, and nothing else is.
func TestRoutesAreDescribed(t *testing.T) {
	doc, _ := loadSpec(t)
	served := map[string]bool{}
	for _, rt := range routes() {
		served[rt.method+" "+rt.path] = true
		item := doc.Paths.Find(rt.path)
		if item == nil || item.GetOperation(rt.method) == nil {
			t.Errorf("%s %s is served, and not described", rt.method, rt.path)
			continue
		}
		op := item.GetOperation(rt.method)
		for _, scope := range rt.scopes {
			if !strings.Contains(op.Description, "`"+scope+"`") {
				t.Errorf("%s %s: the description doesn't name the scope %s", rt.method, rt.path, scope)
			}
		}
		if rt.agent {
			continue
		}
		var described []string
		for _, p := range op.Parameters {
			if p.Value.In == "query" {
				described = append(described, p.Value.Name)
			}
		}
		known := slices.Sorted(slices.Values(rt.query))
		slices.Sort(described)
		if !slices.Equal(known, described) {
			t.Errorf("%s %s knows the parameters %v, described are %v", rt.method, rt.path, known, described)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if !served[method+" "+path] {
				t.Errorf("%s %s is described, and not served", method, path)
			}
		}
	}
}

// Each route with each kind of token.
func TestWhoMayCallWhat(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", nil)
	m.hello()
	job := read[api.Job](b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", All: true}).is(201, ""))
	enroll := read[api.EnrollToken](b.ask("POST", "/v1/tokens/enroll", b.operator(), nil).is(201, "")).Token
	stranger := &bed{t: t, signer: newSigner(t)}
	imposter := &machine{b: b, id: "web-1"}
	imposter.key = mustKey(t)
	tokens := map[auth.Kind]string{auth.KindOperator: b.operator(), auth.KindEnroll: enroll, auth.KindHost: m.token(),
		auth.KindBrowser: b.login(b.operator()).Value}

	for _, rt := range routes() {
		path := strings.NewReplacer("{id}", "x", "{host}", "web-1", "{execution}", job.ID+".web-1").Replace(rt.path)
		switch {
		case strings.HasPrefix(rt.path, "/v1/jobs"):
			path = strings.Replace(path, "/x", "/"+job.ID, 1)
		case strings.HasPrefix(rt.path, "/v1/hosts"):
			path = strings.Replace(path, "/x", "/nobody", 1)
		}
		call := func(token string) *answer { t.Helper(); return b.ask(rt.method, path, token, nil) }
		t.Run(rt.name, func(t *testing.T) {
			if rt.kind == "" {
				if a := call(""); a.status >= 400 && a.status != 400 {
					t.Errorf("without a token: %d %s", a.status, a.body)
				}
				return
			}
			if a := call("").is(401, codeUnauthenticated); a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			call("x.y.z").is(401, codeUnauthenticated)
			call("garbage").is(401, codeUnauthenticated)
			for kind, token := range tokens {
				if kind != rt.kind {
					call(token).is(401, codeWrongKind)
				}
			}
			switch rt.kind {
			case auth.KindOperator:
				call(stranger.operator()).is(401, codeUnauthenticated)
				for _, scope := range rt.scopes {
					others := slices.DeleteFunc(auth.Scopes(), func(s string) bool { return s == scope })
					if p := call(b.operator(others...)).is(403, codeForbidden).problem(); !strings.Contains(p.Detail, scope) {
						t.Errorf("doesn't name the scope: %s", p.Detail)
					}
				}
				if a := call(b.operator(rt.scopes...)); a.status == 401 || a.status == 403 {
					t.Errorf("with its scopes: %d %s", a.status, a.body)
				}
			case auth.KindHost:
				a := call(imposter.token()).is(401, codeUnauthenticated)
				if a.header.Get("Retry-After") == "" {
					t.Error("an agent is refused without Retry-After")
				}
				p := call(m.tokenAt(time.Now().Add(-time.Hour))).is(401, codeTokenTime).problem()
				if off := time.Since(time.UnixMilli(p.Time)); off < 0 || off > time.Minute || a.header.Get("Date") == "" {
					t.Errorf("the gateway's time isn't told: %+v", p)
				}
				if rt.name != "socket" && rt.name != "poll" { // those two have their own tests
					if a := call(m.token()); a.status == 401 || a.status == 403 {
						t.Errorf("with its token: %d %s", a.status, a.body)
					}
				}
			}
		})
	}
}

// A token counts in the Authorization header, and nowhere else.
func TestTokenElsewhereIsNone(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"token", "access_token", "jwt"} {
		a := b.ask("GET", "/v1/jobs?"+name+"="+b.operator(), "", nil)
		a.is(401, codeUnauthenticated)
		b.ask("GET", "/v1/jobs", "", nil, "Cookie", name+"="+b.operator()).is(401, codeUnauthenticated)
	}
	b.ask("GET", "/v1/jobs", "", nil, "Authorization", "Basic YW5uOnB3").is(401, codeUnauthenticated)
}

// A host reaches its own executions only.
func TestHostReachesItsOwnOnly(t *testing.T) {
	b := newBed(t)
	one, two := b.enroll("one", nil), b.enroll("two", nil)
	one.hello()
	two.hello()
	job := read[api.Job](b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", Hosts: []string{"two"}}).is(201, ""))
	mine := two.take()
	before := read[api.Execution](b.ask("GET", "/v1/jobs/"+job.ID+"/executions/two", b.operator(), nil).is(200, ""))
	one.post(&wire.Accepted{Execution: mine.Execution, Seq: 1, Token: mine.Token, At: 1, Position: 1}).is(403, codeForbidden)
	b.ask("GET", wire.PathScript+mine.Execution, one.token(), nil).is(404, "not_found") // as if it weren't there
	stolen := *two
	stolen.key, stolen.id = one.key, one.id
	if a := b.ask("GET", stolen.pollPath("0s"), one.token(), nil); a.status == 200 {
		t.Errorf("another host's session was served: %s", a.body)
	}
	after := read[api.Execution](b.ask("GET", "/v1/jobs/"+job.ID+"/executions/two", b.operator(), nil).is(200, ""))
	if before.State != after.State || after.State != "leased" || after.Deliveries != 1 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	// Nor may it submit, or read what operators read.
	for _, path := range []string{"/v1/jobs", "/v1/hosts", "/v1/jobs/" + job.ID + "/executions/one/output"} {
		b.ask("GET", path, one.token(), nil).is(401, codeWrongKind)
	}
	b.ask("POST", "/v1/jobs", one.token(), api.JobRequest{Script: "true", All: true}).is(401, codeWrongKind)
}

func TestWrongMethodAndPath(t *testing.T) {
	b := newBed(t)
	a := b.ask("DELETE", "/v1/jobs", b.operator(), nil).is(405, codeMethod)
	if a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	for _, path := range []string{"/v1", "/index.html", "/v1/nothing", "/v1/jobs/", "/v1//jobs", "/v1/jobs/../hosts", "/metrics", "/debug/pprof/"} {
		b.ask("GET", path, b.operator(), nil).is(404, "not_found")
	}
	resp, err := http.Get(b.admin + "/v1/jobs")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("the admin's listener serves the API: %d", resp.StatusCode)
	}
}

// The page is there for everybody, and says nothing of the jobs.
func TestPage(t *testing.T) {
	b := newBed(t)
	for path, want := range map[string]string{"/": "text/html; charset=utf-8", "/static/app.js": "text/javascript; charset=utf-8"} {
		resp, err := http.Get(b.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != want || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	b.ask("GET", "/static/nothing.js", "", nil).is(404, "not_found")
	b.ask("POST", "/static/app.js", "", nil).is(405, codeMethod)
	if text := b.metrics(); !strings.Contains(text, `rexgate_requests_total{route="page",status="200"} 2`) {
		t.Error("it isn't counted")
	}
}
