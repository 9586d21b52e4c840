package gateway

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// timeOf gives nil for a time that hasn't happened.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func apiJob(j queue.JobStatus) api.Job {
	s := j.Spec
	counters := make(api.Counters, len(queue.States()))
	for _, st := range queue.States() {
		counters[st.String()] = j.Counters[st]
	}
	done := j.Counters.Done()
	return api.Job{
		ID: string(j.ID), Name: s.Name, CreatedAt: j.CreatedAt.UTC(), CreatedBy: j.CreatedBy,
		RerunOf: string(j.RerunOf), Selection: j.Selection, Targets: j.Targets, Control: string(j.Control),
		ScriptSize: j.ScriptSize, ScriptSHA256: j.ScriptSHA256,
		User: s.User, Env: s.Env, Dir: s.Dir, Lane: string(s.Lane), Priority: s.Priority,
		NotBefore: timeOf(s.NotBefore), PickupTimeout: api.Duration(s.PickupTimeout), RunTimeout: api.Duration(s.RunTimeout),
		OutputLimit: s.OutputLimit, Grace: api.Duration(s.Grace),
		Offline: string(cmp.Or(s.Offline, queue.OfflineWait)), SupersedeKey: s.SupersedeKey, Recheck: s.Recheck,
		Counters: counters, Outstanding: j.Targets - done, Done: done, Failed: j.Counters.Failed(),
		FinishedAt: timeOf(j.FinishedAt),
	}
}

func withScript(j api.Job, script []byte) api.Job {
	if utf8.Valid(script) {
		j.Script = string(script)
	} else {
		j.ScriptBase64 = script
	}
	return j
}

func apiResult(r queue.Result) *api.Result {
	return &api.Result{Outcome: r.Outcome.String(), ExitCode: r.ExitCode, Signal: r.Signal, Reason: r.Reason, At: r.At.UTC()}
}

func apiExecution(x queue.Execution) api.Execution {
	a := api.Execution{
		ID: string(x.ID()), Job: string(x.Job), Host: string(x.Host), Ordinal: x.Ordinal, State: x.State.String(),
		Lane: string(x.Lane), Priority: x.Priority, Deliveries: x.Deliveries,
		ReleasedAt: timeOf(x.ReleasedAt), NotBefore: timeOf(x.NotBefore), DeliverUntil: timeOf(x.DeliverUntil),
		LeasedAt: timeOf(x.LeasedAt), AcceptedAt: timeOf(x.AcceptedAt), StartedAt: timeOf(x.StartedAt),
		FinishedAt: timeOf(x.FinishedAt), CancelledAt: timeOf(x.CancelledAt),
		Output: api.Output{Stdout: x.Output.Stdout, Stderr: x.Output.Stderr, Dropped: x.Output.Dropped, Gap: x.Output.Gap, Deleted: x.Output.Deleted},
	}
	if x.State.Terminal() {
		a.Result = apiResult(x.Result)
	}
	if x.Late != nil {
		a.Late = apiResult(*x.Late)
	}
	return a
}

// apiWhy gives nil for what waits for nothing.
func apiWhy(w *queue.Wait) *api.Why {
	if w == nil {
		return nil
	}
	return &api.Why{Code: string(w.Code), Text: w.Text, Since: timeOf(w.Since), Until: timeOf(w.Until), Behind: string(w.Behind), Ahead: w.Ahead}
}

func apiExecutions(xs []queue.Execution, next string) api.ExecutionList {
	l := api.ExecutionList{Executions: make([]api.Execution, len(xs)), Next: next}
	for i, x := range xs {
		l.Executions[i] = apiExecution(x)
	}
	return l
}

func apiHost(h queue.Host) api.Host {
	labels := h.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	p := h.Presence
	return api.Host{
		ID: string(h.ID), Incarnation: h.Incarnation, Labels: labels, Facts: h.Facts, EnrolledAt: h.EnrolledAt.UTC(),
		Revoked: h.Revoked, Online: p.Online, Transport: string(p.Transport), Gateway: p.Gateway,
		Since: timeOf(p.Since), PollDue: timeOf(p.Due), AgentVersion: p.AgentVersion, DuplicateSince: timeOf(p.DuplicateSince),
	}
}
