package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

// What is asked for in a wrong way is refused before anything is upgraded, and says what to do.
func TestWatchRefuses(t *testing.T) {
	b := newBed(t)
	job := strings.Repeat("0", 26)
	exec := "execution:" + job + ".a"
	upgrade := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol", api.WatchProtocol}
	events := []string{"Accept", "text/event-stream"}
	list := b.operator(api.ScopeJobsRead)
	for _, c := range []struct {
		name, query, token string
		headers            []string
		status             int
		code, detail       string
	}{
		{"no topic", "", b.operator(), events, 400, "invalid", "topic: 0 are given"},
		{"empty topic", "topic=", b.operator(), events, 400, "invalid", "is none of jobs, job:JOB"},
		{"unknown topic", "topic=hosts", b.operator(), events, 400, "invalid", `"hosts" is none of`},
		{"not a job", "topic=job:x", b.operator(), events, 400, "invalid", `job id "x"`},
		{"not an execution", "topic=execution:" + job, b.operator(), upgrade, 400, "invalid", "is not <job>.<host>"},
		{"twice", "topic=jobs&topic=jobs", b.operator(), upgrade, 400, "invalid", "given twice"},
		{"too many", "topic=jobs&topic=job:" + job + "&topic=" + exec + "&topic=" + exec + "1&topic=" + exec + "2", b.operator(), events, 400, "invalid", "topic: 5 are given; 1 to 4"},
		{"unknown parameter", "topics=jobs", b.operator(), events, 400, "invalid", "unknown parameter"},
		{"two cursors", "topic=jobs&cursor=x&cursor=y", b.operator(), events, 400, "invalid", "cursor: given 2 times"},
		{"neither transport", "topic=jobs", b.operator(), nil, 400, "invalid", "send Accept: text/event-stream"},
		{"any type", "topic=jobs", b.operator(), []string{"Accept", "text/html, */*"}, 400, "invalid", "open a WebSocket with the subprotocol " + api.WatchProtocol},
		{"no subprotocol", "topic=jobs", b.operator(), upgrade[:8], 400, "invalid", "this gateway speaks " + api.WatchProtocol},
		{"no key", "topic=jobs", b.operator(), append(slices.Clone(upgrade[:6]), upgrade[8:]...), 400, "invalid", "handshake"},
		{"no token", "topic=jobs", "", upgrade, 401, codeUnauthenticated, ""},
		{"token in the address", "topic=jobs&token=" + b.operator(), "", upgrade, 401, codeUnauthenticated, ""},
		{"a list without its scope", "topic=jobs", b.operator(api.ScopeOutputRead), events, 403, codeForbidden, api.ScopeJobsRead},
		{"output without its scope", "topic=jobs&topic=" + exec, list, events, 403, codeForbidden, api.ScopeOutputRead},
		{"output without its scope, socket", "topic=" + exec, list, upgrade, 403, codeForbidden, api.ScopeOutputRead},
	} {
		a := b.ask("GET", "/v1/watch?"+c.query, c.token, nil, c.headers...)
		if p := a.problem(); a.status != c.status || p.Code != c.code || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
	}
	if a := b.ask("HEAD", "/v1/watch?topic=jobs", b.operator(), nil, events...); a.status != 405 {
		t.Errorf("HEAD: %d", a.status)
	}
	b.ask("POST", "/v1/watch?topic=jobs", b.operator(), "{}").is(405, codeMethod)
}

// A topic that isn't there, or not any more, ends with a problem; the others go on.
func TestWatchOfWhatIsNotThere(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", nil)
	missing, strange := strings.Repeat("0", 26), "execution:"
	for _, transport := range transports {
		job := b.submit(api.JobRequest{Script: "true", Hosts: []string{"web-1"}})
		strange = "execution:" + job.ID + ".nobody"
		v := b.view(t, transport, b.operator(), "job:"+missing, strange, "job:"+job.ID, "jobs")
		v.until("all is told", func() bool { return len(v.fault) == 2 && v.job != nil && v.jobs != nil })
		for _, topic := range []string{"job:" + missing, strange} {
			if p := v.fault[topic]; p.Code != "not_found" || p.Status != 404 || p.Detail == "" {
				t.Errorf("%s: %+v", topic, p)
			}
		}
		if strings.Contains(v.cursor, missing) {
			t.Errorf("the cursor has what isn't there: %s", v.cursor)
		}
		next := b.submit(api.JobRequest{Script: "true", Hosts: []string{"web-1"}})
		v.until("the next job is there", func() bool { return v.jobs[next.ID].ID != "" })
		v.cut()
	}
}

// Browsers come with a cookie, which other sites could make them send.
func TestWatchWithACookie(t *testing.T) {
	b := newBed(t)
	c := b.login(b.operator())
	for origin, ok := range map[string]bool{b.url: true, "http://gate.test": true, "http://evil.test": false, "null": false, "": false} {
		h := http.Header{"Cookie": {sent(c)}}
		if origin != "" {
			h.Set("Origin", origin)
		}
		ws, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(b.url, "http")+"/v1/watch?topic=jobs", &websocket.DialOptions{Subprotocols: []string{api.WatchProtocol}, HTTPHeader: h})
		if (err == nil) != ok {
			t.Errorf("from %q: %v", origin, err)
		}
		if err == nil {
			_ = ws.CloseNow()
		} else if resp == nil || resp.StatusCode != 403 {
			t.Errorf("from %q: %v", origin, resp)
		}
	}
	for site, status := range map[string]int{"same-origin": 200, "cross-site": 403} {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", b.url+"/v1/watch?topic=jobs", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Cookie": {sent(c)}, "Sec-Fetch-Site": {site}, "Sec-Fetch-Mode": {"cors"}, "Accept": {"text/event-stream"}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != status {
			t.Errorf("events, %s: %d", site, resp.StatusCode)
		}
		cancel()
		resp.Body.Close()
	}
}

// Server-sent events go on where the browser says that it stands, also against an older
// cursor in the address.
func TestWatchLastEventID(t *testing.T) {
	b := newBed(t)
	job, p := b.running("web-1")
	v := b.view(t, "sse", b.operator(), "execution:"+job.ID+".web-1")
	p.says(wire.Stdout, "one\n")
	v.says("one\n")
	old := v.cursor
	p.says(wire.Stdout, "two\n")
	v.says("two\n")
	v.cut()
	last := v.cursor
	v.header, v.cursor = http.Header{"Last-Event-ID": {last}}, old
	p.says(wire.Stdout, "three\n")
	v.open(b, b.operator())
	v.says("three\n")
	if string(v.output) != "one\ntwo\nthree\n" || v.snapshots["execution"] != 1 {
		t.Errorf("%q, snapshots %v", v.output, v.snapshots)
	}
	// What isn't a cursor is none.
	for _, strange := range []string{"nonsense", strings.Repeat("x", 5000), "execution:" + job.ID + ".web-1~9.9.x"} {
		v.cut()
		v.header, v.cursor, v.output, v.chunks = nil, strange, nil, nil
		before := v.snapshots["execution"]
		v.open(b, b.operator())
		v.says("three\n")
		if string(v.output) != "one\ntwo\nthree\n" || v.snapshots["execution"] != before+1 {
			t.Errorf("%q, snapshots %v", v.output, v.snapshots)
		}
	}
	p.ends(0, 0)
}

// Watches are few: all together, and each operator's.
func TestWatchesAreBounded(t *testing.T) {
	b := newBed(t)
	v := b.view(t, "sse", b.operator(), "jobs")
	v.next()
	b.g.seats.mu.Lock()
	b.g.seats.each["ann"] += MaxWatchesEach - 1
	b.g.seats.mu.Unlock()
	events := []string{"Accept", "text/event-stream"}
	b.ask("GET", "/v1/watch?topic=jobs", b.operator(), nil, events...).is(429, codeRateLimited)
	bob := b.view(t, "sse", b.operatorAs("bob"), "jobs")
	bob.next()
	b.g.seats.mu.Lock()
	b.g.seats.taken += MaxWatches - 2
	b.g.seats.mu.Unlock()
	b.ask("GET", "/v1/watch?topic=jobs", b.operatorAs("carl"), nil, events...).is(503, codeOverloaded)
	if text := b.metrics(); !strings.Contains(text, `rexgate_watches{transport="sse"} 2`) || !strings.Contains(text, `rexgate_watch_messages_total{kind="snapshot"} 2`) {
		t.Error("they aren't counted")
	}
	v.cut()
	bob.cut()
	until(t, "their seats are free", func() bool {
		b.g.seats.mu.Lock()
		defer b.g.seats.mu.Unlock()
		return b.g.seats.taken == MaxWatches-2 && b.g.seats.each["bob"] == 0
	})
	if text := b.metrics(); !strings.Contains(text, `rexgate_watches_ended_total{transport="sse",why="gone"} 2`) {
		t.Error("their end isn't counted")
	}
}
