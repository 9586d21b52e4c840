package operator

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// TestRealGateway makes every call of the SDK once, against what really serves it.
func TestRealGateway(t *testing.T) {
	s := newSite(t, "web1", "web2", "web3")
	c, ctx := s.client(s.addr), t.Context()
	req := api.JobRequest{Name: "n", Script: "#!/bin/sh\nexit 7\n", Selector: "role=web", RunTimeout: api.Duration(time.Minute),
		Offline: "wait", SupersedeKey: "k", Recheck: true}
	job, err := c.SubmitWithKey(ctx, "key", req)
	if err != nil || job.Targets != 3 {
		t.Fatalf("Submit: %+v %v", job, err)
	}
	if again, err := c.SubmitWithKey(ctx, "key", req); err != nil || again.ID != job.ID {
		t.Errorf("again under the same key: %s %v", again.ID, err)
	}
	req.Name = "other"
	if _, err := c.SubmitWithKey(ctx, "key", req); !IsProblem(err, "conflict") {
		t.Errorf("another request under the same key: %v", err)
	}
	if err := s.run(ctx, "web1", queue.Succeeded, [][]byte{[]byte("hello\n")}, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.run(ctx, "web2", queue.Failed, nil, 0); err != nil {
		t.Fatal(err)
	}
	full, err := c.Job(ctx, job.ID, JobOptions{Script: true, Wait: time.Millisecond})
	if err != nil || full.Script != "#!/bin/sh\nexit 7\n" || full.Done != 2 || full.Failed != 1 || full.Outstanding != 1 ||
		full.Offline != "wait" || full.SupersedeKey != "k" || full.Recheck != "role=web" {
		t.Errorf("Job: %+v %v", full, err)
	}
	if states, err := c.States(ctx, job.ID); err != nil || string(states) != "sfq" {
		t.Errorf("States: %q %v", states, err)
	}
	var targets, failed, waiting, jobs, hosts []string
	for h, err := range c.Targets(ctx, job.ID) {
		must(t, err)
		targets = append(targets, h)
	}
	for x, err := range c.Executions(ctx, ExecutionQuery{Job: job.ID, States: []string{"failed", "lost"}, Limit: 1}) {
		must(t, err)
		failed = append(failed, fmt.Sprint(x.Host, x.Result.ExitCode))
	}
	queued, err := c.HostQueue(ctx, "web3")
	must(t, err)
	for _, x := range queued {
		waiting = append(waiting, x.Job)
	}
	for j, err := range c.Jobs(ctx, 1) {
		must(t, err)
		jobs = append(jobs, j.ID)
	}
	for h, err := range c.Hosts(ctx, HostQuery{Selector: "role in (web)", Limit: 2}) {
		must(t, err)
		hosts = append(hosts, h.ID)
	}
	for what, got := range map[string][2][]string{"targets": {targets, {"web1", "web2", "web3"}}, "failed": {failed, {"web27"}}, "queue": {waiting, {job.ID}},
		"jobs": {jobs, {job.ID}}, "hosts": {hosts, {"web1", "web2", "web3"}}} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: %v, want %v", what, got[0], got[1])
		}
	}
	var out bytes.Buffer
	if n, err := c.CopyOutput(ctx, &out, OutputRequest{Job: job.ID, Host: "web1", Offset: 2}); err != nil || n != 4 || out.String() != "llo\n" {
		t.Errorf("CopyOutput: %q %v", &out, err)
	}
	if n, err := c.CopyOutput(ctx, &out, OutputRequest{Job: job.ID, Host: "web1", Offset: 6}); err != nil || n != 0 {
		t.Errorf("CopyOutput from the end: %d %v", n, err)
	}
	again, err := c.Rerun(ctx, job.ID, api.Selection{States: []string{"failed"}})
	if err != nil || again.Targets != 1 || again.RerunOf != job.ID {
		t.Errorf("Rerun: %+v %v", again, err)
	}
	x, err := c.Execution(ctx, job.ID, "web3")
	if err != nil || x.Why == nil || x.Why.Code != "never_seen" || x.Why.Since == nil || queued[0].Why == nil || *queued[0].Why.Since != *x.Why.Since {
		t.Errorf("Execution: %+v %v", x, err)
	}
	for x, err := range c.Executions(ctx, ExecutionQuery{Job: job.ID, Why: true, Limit: 2}) {
		if err != nil || (x.Why != nil) != (x.Host == "web3") {
			t.Errorf("why: %+v %v", x, err)
		}
	}
	if a, err := c.PurgeHost(ctx, "web3", false); err != nil || a != (api.Cancellation{Cancelled: 1}) {
		t.Errorf("PurgeHost: %+v %v", a, err)
	}
	if _, err := c.PurgeHost(ctx, "nohost", true); !IsProblem(err, "not_found") {
		t.Errorf("PurgeHost of an unknown host: %v", err)
	}
	if a, err := c.Cancel(ctx, job.ID, api.Selection{Selector: new("role=db")}); !IsProblem(err, "invalid") {
		t.Errorf("Cancel by a selector that matches none: %+v %v", a, err)
	}
	if a, err := c.Cancel(ctx, job.ID, api.Selection{}); err != nil || a != (api.Cancellation{}) {
		t.Errorf("Cancel of what has ended: %+v %v", a, err)
	}
	if a, err := c.Cancel(ctx, again.ID, api.Selection{Selector: new("role=web")}); err != nil || a.Cancelled != 1 {
		t.Errorf("Cancel: %+v %v", a, err)
	}
	one := "1"
	if h, err := c.PatchHost(ctx, "web1", api.HostPatch{Labels: map[string]*string{"n": &one, "role": nil}}); err != nil || h.Labels["n"] != "1" || len(h.Labels) != 1 {
		t.Errorf("PatchHost: %+v %v", h, err)
	}
	if tok, err := c.EnrollToken(ctx, api.EnrollTokenRequest{Hosts: "db*", Uses: 3, TTL: api.Duration(time.Minute)}); err != nil || tok.Token == "" {
		t.Errorf("EnrollToken: %+v %v", tok, err)
	}
	must(t, c.RevokeHost(ctx, "web2"))
	must(t, c.DeleteHost(ctx, "web3"))
	if _, err := c.Host(ctx, "web3"); !IsProblem(err, "not_found") {
		t.Errorf("a deleted host: %v", err)
	}
	_, err = c.Submit(ctx, api.JobRequest{Script: "x", Hosts: []string{"nohost"}})
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != "not_found" || !slices.Equal(p.Items, []string{"nohost"}) {
		t.Errorf("an unknown host: %v", err)
	}
	if _, err := c.Submit(ctx, api.JobRequest{Script: "x", Selector: "role=="}); err == nil {
		t.Error("a broken selector was taken")
	}
	bad := s.client(s.addr)
	bad.opt.Token = StaticToken("nonsense")
	if _, err := bad.Host(ctx, "web1"); !IsProblem(err, "unauthenticated") {
		t.Errorf("a bad token: %v", err)
	}
}
