package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/redisqueue/redistest"
	"github.com/rexgate/rexgate/session/wire"
)

var transports = []string{"socket", "sse"}

// onStores runs a test on both stores.
func onStores(t *testing.T, test func(t *testing.T, store queue.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newStore(t)) })
	t.Run("redis", func(t *testing.T) {
		s, err := redisqueue.Open(t.Context(), redisqueue.Options{URL: redistest.Start(t).URL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		test(t, s)
	})
}

// One job from its submit to its end, watched over both transports on its gateway and on
// another: what they were told in steps is what there is.
func TestWatchAJob(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		var all []*viewer
		for _, bed := range []*bed{b, other} {
			for _, transport := range transports {
				all = append(all, bed.view(t, transport, b.operator(), "jobs"))
			}
		}
		for _, v := range all {
			if m := v.next(); !m.Snapshot || len(m.Jobs) != 0 || m.Time == 0 {
				t.Fatalf("%+v", m)
			}
		}
		hosts := []string{"web-1", "web-2"}
		one, two := b.enroll("web-1", nil), b.enroll("web-2", nil)
		one.hello()
		job := b.submit(api.JobRequest{Name: "uptime", Script: "uptime\n", Hosts: hosts, Env: map[string]string{"A": "b"}})
		for _, v := range all {
			v.until("the job is there", func() bool { return v.jobs[job.ID].Name == "uptime" && v.jobs[job.ID].Counters["planned"] == 0 })
			if v.jobs[job.ID].Env != nil {
				t.Error("a list of jobs comes with environments")
			}
		}
		var here []*viewer
		for _, bed := range []*bed{b, other} {
			for _, transport := range transports {
				v := bed.view(t, transport, b.operator(), "job:"+job.ID, "execution:"+job.ID+".web-1", "jobs")
				all, here = append(all, v), append(here, v)
			}
		}
		p := one.start()
		p.says(wire.Stdout, "one\n")
		for _, v := range here {
			v.says("one\n")
			v.until("its state has come", func() bool { return v.run.State == "running" && v.job != nil && v.are("r", "q") })
			if v.job.Env["A"] != "b" || v.job.Script != "" {
				t.Errorf("%+v", v.job)
			}
		}
		p.m.post(&wire.Output{Execution: p.job.Execution, Seq: p.next(), At: 1, Stream: wire.Stderr, Data: []byte{0xff, 'x'}}).is(200, "")
		p.loses(10)
		p.says(wire.Stdout, "bye\n")
		p.ends(3, 0)
		for _, v := range here {
			v.says("bye\n")
			v.until("it has failed", func() bool { return v.run.State == "failed" && v.job.Failed == 1 && v.are("f", "q") })
			if string(v.output) != "one\n\xffxbye\n" || len(v.chunks) != 4 || v.chunks[1].Stream != "stderr" || len(v.chunks[1].Base64) != 2 || v.chunks[2].Gap != 10 || v.chunks[2].Stream != "" || v.run.Result.ExitCode != 3 {
				t.Errorf("%q %+v %+v", v.output, v.chunks, v.run)
			}
			if v.count["snapshot"] != 3 {
				t.Errorf("%v", v.count)
			}
		}
		two.hello()
		b.ask("POST", "/v1/jobs/"+job.ID+"/cancel", b.operator(), nil).is(200, "")
		for _, v := range all {
			v.until("the job is over", func() bool { return v.jobs[job.ID].FinishedAt != nil })
		}
		for _, v := range here {
			v.until("the job is over", func() bool { return v.job.FinishedAt != nil && v.are("f", "c") })
			if want := b.job(job.ID); v.job.Counters["failed"] != want.Counters["failed"] || v.job.Done != 2 || v.job.Control != "cancelled" {
				t.Errorf("%+v, want %+v", v.job, want)
			}
		}
	})
}

// Whoever is cut off again and again while output is written, and comes back to any gateway with
// what it has, gets every byte and gap once.
func TestWatchResumes(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		other := newBedOn(t, store, b.signer, nil)
		beds := []*bed{b, other}
		job, p := b.running("web-1")
		w := &writer{p: p}
		w.says(30)
		var vs []*viewer
		for _, transport := range transports {
			vs = append(vs, newViewer(t, transport, "execution:"+job.ID+".web-1", "job:"+job.ID))
		}
		for round := range 16 {
			written := make(chan struct{})
			go func() { // while they come and go
				defer close(written)
				w.says(11)
			}()
			for i, v := range vs {
				v.open(beds[(round+i)%2], b.operator())
				for before := len(v.output); len(v.output) == before; {
					v.next()
				}
				v.cut()
			}
			<-written
		}
		p.ends(0, 0)
		for _, v := range vs {
			v.open(b, b.operator())
			v.until("all has come", func() bool {
				return v.run.State == "succeeded" && len(v.output) == len(w.text) && v.job != nil && v.job.FinishedAt != nil
			})
			gaps := 0
			for _, c := range v.chunks {
				if c.Gap > 0 {
					gaps++
				}
			}
			// One snapshot is the execution's; the job's cursor is good on one gateway only.
			if string(v.output) != w.text || gaps != w.gaps || v.snapshots["execution"] != 1 || v.snapshots["job"] < 2 {
				t.Errorf("%s: %d bytes, want %d; %d gaps, want %d; snapshots %v", v.transport, len(v.output), len(w.text), gaps, w.gaps, v.snapshots)
			}
		}
	})
}

// writer makes a host write output of all sizes.
type writer struct {
	p    *play
	text string
	gaps int
}

// says writes n pieces, and a gap behind each fifth, where a reader may just stand.
func (w *writer) says(n int) {
	w.p.m.b.t.Helper()
	var msgs []wire.Message
	for i := range n {
		text := strings.Repeat(string(rune('a'+len(w.text)%26)), 1+len(w.text)%997) + "\n"
		w.text += text
		msgs = append(msgs, &wire.Output{Execution: w.p.job.Execution, Seq: w.p.next(), At: 1, Stream: []wire.Stream{wire.Stdout, wire.Stderr}[i%2], Text: text})
		if i%5 == 4 {
			seq := w.p.next()
			w.gaps++
			msgs = append(msgs, &wire.Gap{Execution: w.p.job.Execution, Seq: seq, Through: seq, At: 1, Bytes: 7})
		}
	}
	w.p.m.post(msgs...).is(200, "")
}

// Large output comes in pieces that nobody chokes on, and a cut in its middle costs nothing.
func TestWatchLargeOutput(t *testing.T) {
	onStores(t, func(t *testing.T, store queue.Store) {
		b := newBedOn(t, store, newSigner(t), nil)
		job, p := b.running("web-1")
		w := &writer{p: p}
		for range 14 {
			w.says(100)
		}
		p.ends(0, 0)
		for _, transport := range transports {
			v := newViewer(t, transport, "execution:"+job.ID+".web-1")
			for len(v.output) < len(w.text) {
				v.open(b, b.operator())
				for range 7 {
					if v.next(); len(v.output) == len(w.text) {
						break
					}
				}
				v.cut()
			}
			if string(v.output) != w.text || v.snapshots["execution"] != 1 || slices.Max(v.sizes) > 200<<10 || len(v.sizes) < len(w.text)/(64<<10) {
				t.Errorf("%s: %d bytes in %d messages, the largest of %d; want %d; snapshots %v", transport, len(v.output), len(v.sizes), slices.Max(v.sizes), len(w.text), v.snapshots)
			}
		}
		if n := b.g.views.Reading()["execution"]; n > 1 {
			t.Errorf("%d readers", n)
		}
	})
}

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

// The token's end ends the watch, in a way that says so.
func TestWatchEndsWithTheToken(t *testing.T) {
	b := newBed(t)
	for _, transport := range transports {
		token, _, err := b.signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		v := b.view(t, transport, token, "jobs")
		v.next()
		if end := v.ended(); end.Code != int(wire.CloseExpired) || end.Retry != 0 || end.Reason == "" {
			t.Errorf("%s: %+v", transport, end)
		}
	}
	until(t, "nobody reads", func() bool { return b.g.views.Reading()["jobs"] == 0 })
}

// A gateway that goes sends its watches away; on another they go on.
func TestWatchDrain(t *testing.T) {
	b := newBed(t)
	other := newBedOn(t, b.store, b.signer, nil)
	job, p := b.running("web-1")
	p.says(wire.Stdout, "one\n")
	var all []*viewer
	for _, transport := range transports {
		v := other.view(t, transport, b.operator(), "execution:"+job.ID+".web-1", "jobs")
		v.says("one\n")
		v.until("the jobs are there", func() bool { return v.jobs != nil })
		all = append(all, v)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- other.stop() }()
	for _, v := range all {
		if end := v.ended(); end.Code != int(wire.CloseDrain) || end.Retry < 1 || end.Retry > 2 {
			t.Errorf("%s: %+v", v.transport, end)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	p.says(wire.Stdout, "two\n")
	for _, v := range all {
		v.cut()
		before := v.count["snapshot"]
		v.open(b, b.operator())
		v.says("two\n")
		v.until("the jobs are there", func() bool { return v.count["snapshot"] > before })
		if string(v.output) != "one\ntwo\n" || v.count["snapshot"] != before+1 { // of the jobs, whose cursor is the other's
			t.Errorf("%s: %q %v", v.transport, v.output, v.count)
		}
	}
	p.ends(0, 0)
}
