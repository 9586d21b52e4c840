package gateway

import (
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/session/wire"
)

// What a host reports after its execution was lost is kept beside it, and changes nothing else.
func TestLateResult(t *testing.T) {
	b := newBed(t)
	m := b.enroll("web-1", nil)
	m.hello()
	job := b.submit(api.JobRequest{Script: "true", All: true})
	p := m.start()
	p.says(wire.Stdout, "begun\n")
	// It comes back, and has it not.
	m.session = 0
	messages(m.post(&wire.Hello{AgentVersion: "test", BootID: "b", Generation: "g-web-1", Nonce: "n-web-1", Position: 1, After: m.after}))
	lost := b.inState(job.ID, "web-1", "lost")
	if lost.Late != nil || lost.Why != nil || lost.Result == nil || lost.Result.Reason == "" {
		t.Errorf("%+v", lost)
	}
	m.hello()
	p.says(wire.Stdout, "ended after all\n")
	p.ends(3, 0)
	late := b.inState(job.ID, "web-1", "lost")
	if late.Late == nil || late.Late.Outcome != "failed" || late.Late.ExitCode != 3 || time.Since(late.Late.At).Abs() > time.Minute {
		t.Fatalf("%+v", late.Late)
	}
	if *late.Result != *lost.Result || !late.FinishedAt.Equal(*lost.FinishedAt) {
		t.Errorf("%+v, then %+v", lost.Result, late.Result)
	}
	l := read[api.ExecutionList](b.ask("GET", "/v1/jobs/"+job.ID+"/executions?state=lost&why=true", b.operator(), nil).is(200, ""))
	if len(l.Executions) != 1 || l.Executions[0].Late == nil || *l.Executions[0].Late != *late.Late {
		t.Errorf("in the list: %+v", l)
	}
	if out := b.ask("GET", "/v1/jobs/"+job.ID+"/executions/web-1/output", b.operator(), nil).is(200, "").body; string(out) != "begun\nended after all\n" {
		t.Errorf("output: %q", out)
	}
	if j := b.job(job.ID); j.Counters["lost"] != 1 || j.Failed != 1 || j.FinishedAt == nil {
		t.Errorf("%+v", j)
	}
}
