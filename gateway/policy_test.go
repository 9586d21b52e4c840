package gateway

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What a job says of hosts that can't take it at once is stored, shown, kept by a re-run, and told apart by
// idempotency keys.
func TestPolicies(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", map[string]string{"role": "web"}).hello()
	b.enroll("web-2", map[string]string{"role": "web"})
	plain := b.submit(api.JobRequest{Script: "true", All: true})
	if plain.Offline != "wait" || plain.SupersedeKey != "" || plain.Recheck != "" {
		t.Errorf("by default: %+v", plain)
	}
	req := api.JobRequest{Script: "true", Selector: "role in (web) , !old", Offline: "skip", SupersedeKey: "nightly", Recheck: true}
	post := func(req api.JobRequest) *answer {
		return b.ask("POST", "/v1/jobs", b.operator(), req, api.IdempotencyKey, "k")
	}
	made := read[api.Job](post(req).is(201, ""))
	for what, j := range map[string]api.Job{
		"made":  made,
		"again": read[api.Job](post(req).is(200, "")),
		"shown": b.job(made.ID),
		"rerun": read[api.Job](b.ask("POST", "/v1/jobs/"+made.ID+"/rerun", b.operator(), nil).is(201, "")),
	} {
		if j.Offline != "skip" || j.SupersedeKey != "nightly" || j.Recheck != made.Selection || j.Recheck == "" {
			t.Errorf("%s: %+v", what, j)
		}
	}
	for _, change := range []func(*api.JobRequest){
		func(r *api.JobRequest) { r.Offline = "wait" },
		func(r *api.JobRequest) { r.SupersedeKey = "weekly" },
		func(r *api.JobRequest) { r.Recheck = false },
	} {
		other := req
		change(&other)
		post(other).is(409, "conflict")
	}
	x := b.inState(made.ID, "web-2", "cancelled")
	if x.Result == nil || x.Result.Reason != queue.WhyOffline {
		t.Errorf("on a host that is offline: %+v", x.Result)
	}
	newer := b.submit(api.JobRequest{Script: "true", Hosts: []string{"web-1"}, SupersedeKey: "nightly"})
	x = b.inState(made.ID, "web-1", "cancelled")
	if x.Result == nil || !strings.HasPrefix(x.Result.Reason, "superseded by job ") {
		t.Errorf("with a newer job: %+v", x.Result)
	}
	b.inState(newer.ID, "web-1", "queued")
}

func TestBadPolicies(t *testing.T) {
	b := newBed(t)
	b.enroll("web-1", map[string]string{"role": "web"})
	for what, req := range map[string]api.JobRequest{
		"offline":       {Script: "true", All: true, Offline: "maybe"},
		"supersede_key": {Script: "true", All: true, SupersedeKey: strings.Repeat("k", 201)},
		"recheck":       {Script: "true", Hosts: []string{"web-1"}, Recheck: true},
		"selector":      {Script: "true", Selector: "role=", Recheck: true},
	} {
		if what == "selector" {
			req.Selector = "role=="
		}
		if p := b.ask("POST", "/v1/jobs", b.operator(), req).is(400, "invalid").problem(); !strings.Contains(p.Detail, what) {
			t.Errorf("%s isn't named: %s", what, p.Detail)
		}
	}
	if p := b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", Selector: "role=web," + strings.Repeat("!x,", 1500) + "!y", Recheck: true}); p.status != 400 {
		t.Errorf("a selector that is too long to be looked at again: %d %s", p.status, p.body)
	}
	if l := read[api.JobList](b.ask("GET", "/v1/jobs", b.operator(), nil).is(200, "")); len(l.Jobs) != 0 {
		t.Errorf("%d jobs", len(l.Jobs))
	}
}

// Labels that have changed since keep a rechecked job from a host.
func TestRecheck(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", map[string]string{"role": "web"})
	job := b.submit(api.JobRequest{Script: "true", Selector: "role=web", Recheck: true})
	b.inState(job.ID, "web-1", "queued")
	b.ask("PATCH", "/v1/hosts/web-1", b.operator(), `{"labels":{"role":"db"}}`).is(200, "")
	m.hello()
	for _, msg := range messages(b.ask("GET", m.pollPath("0s"), m.token(), nil)) {
		if j, ok := msg.(*wire.Job); ok {
			t.Errorf("delivered: %+v", j)
		}
	}
	if x := b.inState(job.ID, "web-1", "cancelled"); x.Result.Reason != queue.WhyUnselected {
		t.Errorf("%+v", x.Result)
	}
}

// A host's queue is emptied; what runs there only where that is asked for, and confirmed by the host.
func TestPurge(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", nil)
	b.enroll("web-2", nil)
	m.hello()
	running := b.submit(api.JobRequest{Script: "sleep 100", Hosts: []string{"web-1"}})
	p := m.start()
	var waiting []api.Job
	for range 3 {
		waiting = append(waiting, b.submit(api.JobRequest{Script: "true", All: true, NotBefore: new(time.Now().Add(time.Hour))}))
	}
	for _, j := range waiting {
		b.inState(j.ID, "web-1", "queued")
		b.inState(j.ID, "web-2", "queued")
	}
	purge := func(body any) api.Cancellation {
		t.Helper()
		return read[api.Cancellation](b.ask("POST", "/v1/hosts/web-1/purge", b.operator(), body).is(200, ""))
	}
	v := b.view(t, "socket", b.operator(), "job:"+waiting[0].ID)
	v.until("it is seen", func() bool { return v.states != nil })
	if c := purge(nil); c != (api.Cancellation{Cancelled: 3}) {
		t.Errorf("%+v", c)
	}
	v.until("it is seen live", func() bool { return v.job.Counters["cancelled"] == 1 })
	for _, j := range waiting {
		if x := b.inState(j.ID, "web-1", "cancelled"); !strings.Contains(x.Result.Reason, "ann") {
			t.Errorf("%+v", x.Result)
		}
		b.inState(j.ID, "web-2", "queued")
	}
	if x := b.inState(running.ID, "web-1", "running"); x.CancelledAt != nil {
		t.Errorf("what runs was cancelled: %+v", x)
	}
	if c := purge(api.PurgeRequest{}); c != (api.Cancellation{}) {
		t.Errorf("again: %+v", c)
	}
	if c := purge(api.PurgeRequest{Running: true}); c != (api.Cancellation{Asked: 1}) {
		t.Errorf("with what runs: %+v", c)
	}
	if x := b.inState(running.ID, "web-1", "running"); x.Why == nil || x.Why.Code != "cancel" {
		t.Errorf("%+v", x.Why)
	}
	m.confirmCancel(p)
	b.inState(running.ID, "web-1", "cancelled")
	b.ask("POST", "/v1/hosts/nobody/purge", b.operator(), nil).is(404, "not_found")
	b.ask("POST", "/v1/hosts/web-1/purge", b.operator(), `{"all":true}`).is(400, "invalid")
	b.ask("POST", "/v1/hosts/web-1/purge", b.operator(api.ScopeHostsAdmin), nil).is(403, codeForbidden)
}

// confirmCancel waits for the cancel of what runs, and ends it as asked.
func (m *machine) confirmCancel(p *play) {
	m.b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		for _, msg := range messages(m.b.ask("GET", m.pollPath("5s"), m.token(), nil)) {
			if c, ok := msg.(*wire.Cancel); ok && c.Execution == p.job.Execution {
				m.after = max(m.after, c.N)
				m.post(&wire.Finished{Execution: c.Execution, Seq: p.next(), At: time.Now().UnixMilli(), Outcome: wire.Cancelled, ExitCode: -1, Signal: "SIGTERM"}).is(200, "")
				return
			}
		}
	}
	m.b.t.Fatal("no cancel came")
}

// Executions are chosen by the labels that hosts have now.
func TestCancelBySelector(t *testing.T) {
	b := newBed(t)
	for id, role := range map[string]string{"a": "web", "b": "web", "c": "db", "d": "web", "outside": "web"} {
		b.enroll(id, map[string]string{"role": role})
	}
	job := b.submit(api.JobRequest{Script: "true", Hosts: []string{"a", "b", "c", "d"}})
	for _, id := range []string{"a", "b", "c", "d"} {
		b.inState(job.ID, id, "queued")
	}
	b.ask("PATCH", "/v1/hosts/d", b.operator(), `{"labels":{"role":"db"}}`).is(200, "")
	cancel := func(body string) *answer { return b.ask("POST", "/v1/jobs/"+job.ID+"/cancel", b.operator(), body) }
	for _, bad := range []string{`{"selector":""}`, `{"selector":"role=="}`, `{"selector":"role=none"}`, `{"selector":"role=web","hosts":["a"]}`} {
		cancel(bad).is(400, "invalid")
	}
	if j := b.job(job.ID); j.Counters["queued"] != 4 {
		t.Fatalf("%+v", j.Counters)
	}
	if c := read[api.Cancellation](cancel(`{"selector":"role=web","states":["running"]}`).is(200, "")); c != (api.Cancellation{}) {
		t.Errorf("by state too: %+v", c)
	}
	for range 2 {
		cancel(`{"selector":"role=web"}`).is(200, "")
		if j := b.job(job.ID); j.Counters["cancelled"] != 2 || j.Control != "active" {
			t.Errorf("%+v", j)
		}
	}
	b.inState(job.ID, "c", "queued")
	b.inState(job.ID, "d", "queued")
	again := read[api.Job](b.ask("POST", "/v1/jobs/"+job.ID+"/rerun", b.operator(), `{"selector":"role in (db)"}`).is(201, ""))
	l := read[api.TargetList](b.ask("GET", "/v1/jobs/"+again.ID+"/targets", b.operator(), nil).is(200, ""))
	if slices.Sort(l.Hosts); strings.Join(l.Hosts, " ") != "c d" {
		t.Errorf("runs again on %v", l.Hosts)
	}
}

// Of what hasn't ended it is said why, alike for one execution, in a job's list, and in a host's queue.
func TestWhy(t *testing.T) {
	b := newBed(t)
	m := b.enroll("busy", nil)
	m.hello()
	b.enroll("never", nil)
	first := b.submit(api.JobRequest{Script: "sleep 100", Hosts: []string{"busy"}, RunTimeout: api.Duration(time.Hour)})
	p := m.start()
	second := b.submit(api.JobRequest{Script: "true", All: true})
	later := b.submit(api.JobRequest{Script: "true", Hosts: []string{"busy"}, NotBefore: new(time.Now().Add(time.Hour))})
	third := b.submit(api.JobRequest{Script: "true", Hosts: []string{"busy"}})
	urgent := b.submit(api.JobRequest{Script: "true", Hosts: []string{"busy"}, Lane: "urgent"})
	want := map[string]string{
		first.ID + " busy": "running", second.ID + " busy": "lane", second.ID + " never": "never_seen",
		later.ID + " busy": "not_before", third.ID + " busy": "lane", urgent.ID + " busy": "poll",
	}
	check := func(where string, x api.Execution) {
		t.Helper()
		if x.Why == nil || x.Why.Code != want[x.Job+" "+x.Host] || x.Why.Text == "" {
			t.Errorf("%s: %s on %s: %+v, want %s", where, x.State, x.Host, x.Why, want[x.Job+" "+x.Host])
		}
	}
	single := map[string]api.Execution{}
	for key := range want {
		job, host, _ := strings.Cut(key, " ")
		state := "queued"
		if job == first.ID {
			state = "running"
		}
		x := b.inState(job, host, state)
		check("alone", x)
		single[key] = x
		for _, x := range read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+job+"/executions?why=true", b.operator(), nil).is(200, "")).Executions {
			check("in the list", x)
		}
		for _, x := range read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+job+"/executions", b.operator(), nil).is(200, "")).Executions {
			if x.Why != nil {
				t.Errorf("not asked for: %+v", x.Why)
			}
		}
	}
	x := single[third.ID+" busy"]
	if x.Why.Behind != first.ID || x.Why.Ahead != 1 || x.Why.Since == nil || !x.Why.Since.Equal(*single[first.ID+" busy"].StartedAt) {
		t.Errorf("behind another: %+v", x.Why)
	}
	if x := single[first.ID+" busy"]; x.Why.Until == nil || x.Why.Until.Sub(*x.StartedAt) != time.Hour {
		t.Errorf("running: %+v", x.Why)
	}
	queue := read[api.ExecutionList](b.ask("GET", "/v1/hosts/busy/queue?why=true", b.operator(), nil).is(200, "")).Executions
	if len(queue) != 5 {
		t.Errorf("a queue of %d", len(queue))
	}
	for _, x := range queue {
		check("in the queue", x)
		if s := single[x.Job+" busy"].Why; x.Why.Behind != s.Behind || x.Why.Ahead != s.Ahead {
			t.Errorf("in the queue: %+v, alone: %+v", x.Why, s)
		}
	}
	for _, x := range read[api.ExecutionList](b.ask("GET", "/v1/hosts/busy/queue?why=false", b.operator(), nil).is(200, "")).Executions {
		if x.Why != nil {
			t.Errorf("not asked for: %+v", x.Why)
		}
	}
	// What has ended waits for nothing.
	p.ends(0, 0)
	if x := b.inState(first.ID, "busy", "succeeded"); x.Why != nil {
		t.Errorf("ended: %+v", x.Why)
	}
	b.ask("POST", "/v1/jobs/"+second.ID+"/cancel", b.operator(), api.Selection{Hosts: []string{"never"}}).is(200, "")
	l := read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+second.ID+"/executions?why=true&state="+url.QueryEscape("queued,cancelled"), b.operator(), nil).is(200, ""))
	for _, x := range l.Executions {
		if (x.State == "cancelled") != (x.Why == nil) {
			t.Errorf("%s: %+v", x.State, x.Why)
		}
	}
}
