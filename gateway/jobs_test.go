package gateway

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func (b *bed) submit(req api.JobRequest) api.Job {
	b.t.Helper()
	return read[api.Job](b.ask("POST", "/v1/jobs", b.operator(), req).is(201, ""))
}

func (b *bed) job(id string) api.Job {
	b.t.Helper()
	return read[api.Job](b.ask("GET", "/v1/jobs/"+id, b.operator(), nil).is(200, ""))
}

// inState waits until an execution is in a state.
func (b *bed) inState(job, host, state string) api.Execution {
	b.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for {
		x := read[api.Execution](b.ask("GET", "/v1/jobs/"+job+"/executions/"+host, b.operator(), nil).is(200, ""))
		if x.State == state {
			return x
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s on %s is %s, not %s", job, host, x.State, state)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

func TestJobFromSubmitToEnd(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", map[string]string{"role": "web"})
	b.enroll("db-1", map[string]string{"role": "db"})
	m.hello()
	a := b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Name: "uptime", Script: "#!/bin/sh\nuptime\n", Selector: "role = web",
		Env: map[string]string{"A": "b"}, RunTimeout: api.Duration(time.Minute)}).is(201, "")
	job := read[api.Job](a)
	if a.header.Get("Location") != "/v1/jobs/"+job.ID || job.Targets != 1 || job.CreatedBy != "ann" || job.Selection != "role=web" ||
		job.Outstanding != 1 || len(job.Counters) != 12 || job.Script != "" || job.Control != "active" {
		t.Errorf("%+v", job)
	}
	p := m.start()
	if p.job.Spec.Script != "#!/bin/sh\nuptime\n" || p.job.Spec.RunTimeout != 60_000 {
		t.Errorf("%+v", p.job.Spec)
	}
	p.says(wire.Stdout, "up\n")
	p.ends(0, 0)
	x := b.inState(job.ID, "web-1", "succeeded")
	if x.Result == nil || x.Result.ExitCode != 0 || x.Output.Stdout != 3 || x.StartedAt == nil {
		t.Errorf("%+v", x)
	}
	shown := read[api.Job](b.ask("GET", "/v1/jobs/"+job.ID+"?script=true", b.operator(), nil).is(200, ""))
	if shown.Script != "#!/bin/sh\nuptime\n" || shown.Done != 1 || shown.Failed != 0 || shown.FinishedAt == nil {
		t.Errorf("%+v", shown)
	}
	if got := b.ask("GET", "/v1/jobs/"+job.ID+"/states", b.operator(), nil).is(200, "").body; string(got) != "s" {
		t.Errorf("states: %q", got)
	}
	l := read[api.TargetList](b.ask("GET", "/v1/jobs/"+job.ID+"/targets", b.operator(), nil).is(200, ""))
	if l.Total != 1 || len(l.Hosts) != 1 || l.Hosts[0] != "web-1" {
		t.Errorf("%+v", l)
	}
	l = read[api.TargetList](b.ask("GET", "/v1/jobs/"+job.ID+"/targets?from=1", b.operator(), nil).is(200, ""))
	if l.From != 1 || len(l.Hosts) != 0 {
		t.Errorf("%+v", l)
	}
}

func TestScriptsOfAnyBytes(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", nil)
	script := []byte("#!/bin/sh\nprintf '\xff\xfe'\n")
	job := b.submit(api.JobRequest{ScriptBase64: script, All: true})
	shown := read[api.Job](b.ask("GET", "/v1/jobs/"+job.ID+"?script=1", b.operator(), nil).is(200, ""))
	if !bytes.Equal(shown.ScriptBase64, script) || shown.Script != "" {
		t.Errorf("%+v", shown)
	}
	large := strings.Repeat("\x01", queue.MaxScript) // six bytes each in JSON
	if job := b.submit(api.JobRequest{Script: large, All: true}); job.ScriptSize != queue.MaxScript {
		t.Errorf("%d bytes", job.ScriptSize)
	}
}

func TestIdempotencyKey(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", nil)
	req := api.JobRequest{Script: "true", All: true}
	post := func(token string, body any) *answer {
		return b.ask("POST", "/v1/jobs", token, body, api.IdempotencyKey, "key 1")
	}
	first := read[api.Job](post(b.operator(), req).is(201, ""))
	again := post(b.operator(), "{\"all\":  true, \"script\":\"true\"}").is(200, "")
	if j := read[api.Job](again); j.ID != first.ID || again.header.Get("Location") != "/v1/jobs/"+first.ID {
		t.Errorf("a repeat gave %s, not %s", j.ID, first.ID)
	}
	named := api.JobRequest{Script: "true", Hosts: []string{"web-1"}}
	repeat := func() *answer {
		return b.ask("POST", "/v1/jobs", b.operator(), named, api.IdempotencyKey, "key 2")
	}
	second := read[api.Job](repeat().is(201, ""))
	if err := b.store.DeleteHost(t.Context(), "web-1"); err != nil {
		t.Fatal(err)
	}
	if j := read[api.Job](repeat().is(200, "")); j.ID != second.ID { // its host has gone, the answer is the same
		t.Errorf("a repeat gave %s, not %s", j.ID, second.ID)
	}
	b.enroll("web-2", nil)
	req.Script = "false"
	post(b.operator(), req).is(409, "conflict")
	if j := read[api.Job](post(b.operatorAs("bob"), req).is(201, "")); j.ID == first.ID {
		t.Error("operators share keys")
	}
	if l := read[api.JobList](b.ask("GET", "/v1/jobs", b.operator(), nil).is(200, "")); len(l.Jobs) != 3 {
		t.Errorf("%d jobs", len(l.Jobs))
	}
	for _, key := range []string{strings.Repeat("k", 201), "ä"} {
		b.ask("POST", "/v1/jobs", b.operator(), req, api.IdempotencyKey, key).is(400, "invalid")
	}
}

func TestListsInPages(t *testing.T) {
	b := newBed(t)
	for i := range 5 {
		b.enroll(fmt.Sprintf("h%d", i), nil)
	}
	var ids []string
	for range 5 {
		ids = append(ids, b.submit(api.JobRequest{Script: "true", All: true}).ID)
		time.Sleep(2 * time.Millisecond) // ids sort by milliseconds
	}
	slices.Reverse(ids)
	var got []string
	for next := ""; ; {
		l := read[api.JobList](b.ask("GET", "/v1/jobs?limit=2&after="+url.QueryEscape(next), b.operator(), nil).is(200, ""))
		for _, j := range l.Jobs {
			got = append(got, j.ID)
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("jobs %v, want %v", got, ids)
	}
	var hosts []string
	for next := ""; ; {
		l := read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+ids[0]+"/executions?limit=2&state=queued,planned&after="+url.QueryEscape(next), b.operator(), nil).is(200, ""))
		for _, x := range l.Executions {
			hosts = append(hosts, x.Host)
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if strings.Join(hosts, " ") != "h0 h1 h2 h3 h4" {
		t.Errorf("executions of %v", hosts)
	}
	if l := read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+ids[0]+"/executions?state=lost&state=failed", b.operator(), nil).is(200, "")); len(l.Executions) != 0 {
		t.Errorf("%+v", l)
	}
}

// Wait ends when the job does, also where the host hangs on another gateway, and
// with the wait otherwise.
func TestWait(t *testing.T) {
	b := newBed(t)
	other := newBedOn(t, b.store, b.signer, nil)
	for _, watching := range []*bed{b, other} {
		m := b.enroll("h-"+watching.g.config.Name, nil)
		m.hello()
		job := b.submit(api.JobRequest{Script: "true", Hosts: []string{m.id}})
		p := m.start()
		at := time.Now()
		if j := read[api.Job](watching.ask("GET", "/v1/jobs/"+job.ID+"?wait=50ms", b.operator(), nil).is(200, "")); j.FinishedAt != nil || time.Since(at) < 50*time.Millisecond {
			t.Errorf("after %v: %+v", time.Since(at), j)
		}
		waited := make(chan *answer)
		go func() { waited <- watching.ask("GET", "/v1/jobs/"+job.ID+"?wait=1m", b.operator(), nil) }()
		until(t, "somebody waits", func() bool { return watching.g.jobs.Watching() == 1 })
		p.ends(1, 0)
		ended := time.Now()
		j := read[api.Job]((<-waited).is(200, ""))
		if j.Failed != 1 || j.FinishedAt == nil {
			t.Errorf("%+v", j)
		}
		if d := time.Since(ended); d > 3*time.Second {
			t.Errorf("woken %v after the end", d)
		}
		until(t, "nobody is left waiting", func() bool { return watching.g.jobs.Watching() == 0 })
	}
}

// until waits for a condition that nothing announces.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestCancel(t *testing.T) {
	b := newBed(t)
	running := b.enroll("running", nil)
	running.hello()
	for _, id := range []string{"a", "b", "c"} {
		b.enroll(id, nil)
	}
	job := b.submit(api.JobRequest{Script: "sleep 100", All: true})
	p := running.start()
	for _, id := range []string{"a", "b", "c"} {
		b.inState(job.ID, id, "queued")
	}
	cancel := func(body any) api.Cancellation {
		t.Helper()
		return read[api.Cancellation](b.ask("POST", "/v1/jobs/"+job.ID+"/cancel", b.operator(), body).is(200, ""))
	}
	if c := cancel(api.Selection{Hosts: []string{"a"}}); c != (api.Cancellation{Cancelled: 1}) {
		t.Errorf("by host: %+v", c)
	}
	if c := cancel(api.Selection{Hosts: []string{"a", "running"}, States: []string{"queued"}}); c != (api.Cancellation{}) {
		t.Errorf("by host and state, of which none fits both: %+v", c)
	}
	b.ask("POST", "/v1/jobs/"+job.ID+"/cancel", b.operator(), api.Selection{Hosts: []string{"a", "stranger"}}).is(404, "not_found")
	if x := b.inState(job.ID, "b", "queued"); x.CancelledAt != nil {
		t.Errorf("%+v", x)
	}
	if c := cancel(api.Selection{States: []string{"queued"}}); c != (api.Cancellation{Cancelled: 2}) {
		t.Errorf("by state: %+v", c)
	}
	if c := cancel(nil); c.Cancelled != 0 || c.Asked != 1 {
		t.Errorf("all: %+v", c)
	}
	if j := b.job(job.ID); j.Control != "cancelled" || j.Counters["cancelled"] != 3 || j.Outstanding != 1 {
		t.Errorf("%+v", j)
	}
	// The host is told, and confirms.
	told := false
	for _, msg := range messages(b.ask("GET", running.pollPath("5s"), running.token(), nil)) {
		if c, ok := msg.(*wire.Cancel); ok && c.Execution == p.job.Execution {
			told = true
		}
	}
	if !told {
		t.Error("the host wasn't told")
	}
	running.post(&wire.Finished{Execution: p.job.Execution, Seq: p.next(), At: 1, Outcome: wire.Cancelled, ExitCode: -1, Signal: "SIGTERM"}).is(200, "")
	if j := b.job(job.ID); j.Counters["cancelled"] != 4 || j.FinishedAt == nil || j.Failed != 0 {
		t.Errorf("%+v", j)
	}
}

// A re-run of those that failed runs on these, exactly.
func TestRerun(t *testing.T) {
	b := newBed(t)
	exits := map[string]int{"a": 0, "b": 1, "c": 0, "d": 2}
	hosts := map[string]*machine{}
	for id := range exits {
		hosts[id] = b.enroll(id, nil)
		hosts[id].hello()
	}
	job := b.submit(api.JobRequest{Name: "n", Script: "exit 1", All: true, Priority: 7, Lane: "urgent"})
	for id, exit := range exits {
		hosts[id].start().ends(exit, 0)
	}
	rerun := func(status int, code string, body any, headers ...string) *answer {
		t.Helper()
		return b.ask("POST", "/v1/jobs/"+job.ID+"/rerun", b.operator(), body, headers...).is(status, code)
	}
	again := read[api.Job](rerun(201, "", api.Selection{States: []string{"failed"}}, api.IdempotencyKey, "k"))
	if again.RerunOf != job.ID || again.Targets != 2 || again.Priority != 7 || again.Lane != "urgent" || again.ScriptSHA256 != job.ScriptSHA256 {
		t.Errorf("%+v", again)
	}
	l := read[api.TargetList](b.ask("GET", "/v1/jobs/"+again.ID+"/targets", b.operator(), nil).is(200, ""))
	if strings.Join(l.Hosts, " ") != "b d" {
		t.Errorf("runs again on %v", l.Hosts)
	}
	if j := read[api.Job](rerun(200, "", api.Selection{States: []string{"failed"}}, api.IdempotencyKey, "k")); j.ID != again.ID {
		t.Error("a repeated rerun made another job")
	}
	rerun(409, "conflict", api.Selection{States: []string{"succeeded"}}, api.IdempotencyKey, "k")
	one := read[api.Job](rerun(201, "", api.Selection{Hosts: []string{"a", "b"}, States: []string{"succeeded"}}))
	if l := read[api.TargetList](b.ask("GET", "/v1/jobs/"+one.ID+"/targets", b.operator(), nil)); strings.Join(l.Hosts, " ") != "a" {
		t.Errorf("runs again on %v", l.Hosts)
	}
	if all := read[api.Job](rerun(201, "", nil)); all.Targets != 4 {
		t.Errorf("all: %+v", all)
	}
	rerun(400, "invalid", api.Selection{States: []string{"lost"}})
	if p := rerun(404, "not_found", api.Selection{Hosts: []string{"a", "x"}}).problem(); len(p.Items) != 1 || p.Items[0] != "x" {
		t.Errorf("%+v", p)
	}
	b.ask("DELETE", "/v1/hosts/d", b.operator(), nil).is(204, "")
	if p := rerun(404, "not_found", api.Selection{States: []string{"failed"}}).problem(); len(p.Items) != 1 || p.Items[0] != "d" {
		t.Errorf("a host that is gone: %+v", p)
	}
}
