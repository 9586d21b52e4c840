package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// cancelLocked ends executions as a gateway does: what didn't start at once, the others by their
// process groups.
func (g *gate) cancelLocked(j *gateJob, wanted func(*gateExecution) bool) (c api.Cancellation) {
	now := time.Now()
	for _, x := range j.xs {
		if x.FinishedAt != nil || wanted != nil && !wanted(x) {
			continue
		}
		x.CancelledAt = &now
		if x.pid > 0 {
			_ = syscall.Kill(-x.pid, syscall.SIGKILL)
			c.Asked++
			continue
		}
		x.end("cancelled", &api.Result{Outcome: "cancelled", ExitCode: -1, Reason: "cancelled by tester"})
		c.Cancelled++
	}
	j.count()
	g.moved.Broadcast()
	return c
}

func (g *gate) selection(r *http.Request) (func(*gateExecution) bool, error) {
	var s api.Selection
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return nil, refuse(400, "invalid", "%v", err)
	}
	if s.Selector != nil && !strings.HasPrefix(*s.Selector, "role=") {
		return nil, refuse(400, "invalid", "selector: no host matches %s", *s.Selector)
	}
	return func(x *gateExecution) bool {
		return (s.Selector == nil || *s.Selector == "role="+g.hosts[x.Host].Labels["role"]) && (len(s.Hosts) == 0 || slices.Contains(s.Hosts, x.Host)) && (len(s.States) == 0 || slices.Contains(s.States, x.State))
	}, nil
}

func (g *gate) cancel(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	wanted, err := g.selection(r)
	if err != nil {
		return nil, err
	}
	return g.cancelLocked(j, wanted), nil
}

func (g *gate) rerun(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	wanted, err := g.selection(r)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, x := range j.xs {
		if wanted(x) {
			hosts = append(hosts, x.Host)
		}
	}
	if len(hosts) == 0 {
		return nil, refuse(400, "invalid", "the selection is empty")
	}
	again := j.Job
	again.RerunOf, again.FinishedAt = j.ID, nil
	return g.start(r.Header.Get(api.IdempotencyKey), hosts, j.script, again)
}

func (g *gate) listHosts(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := r.URL.Query()
	all := []api.Host{}
	for _, h := range g.hosts {
		if s := q.Get("selector"); s != "" && s != "role="+h.Labels["role"] {
			continue
		}
		if on := q.Get("online"); on != "" && (on == "true") != h.Online {
			continue
		}
		all = append(all, *h)
	}
	slices.SortFunc(all, func(a, b api.Host) int { return strings.Compare(a.ID, b.ID) })
	items, next := cut(r, all)
	return api.HostList{Hosts: items, Next: next}, nil
}

func (g *gate) hostLocked(r *http.Request) (*api.Host, error) {
	if h := g.hosts[r.PathValue("host")]; h != nil {
		return h, nil
	}
	return nil, refuse(404, "not_found", "there is no host %s", r.PathValue("host"))
}

func (g *gate) host(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hostLocked(r)
}

func (g *gate) queue(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := api.ExecutionList{}
	for _, j := range g.jobs {
		for _, x := range j.xs {
			if x.Host == r.PathValue("host") && x.FinishedAt == nil {
				l.Executions = append(l.Executions, g.explained(x))
			}
		}
	}
	return l, nil
}

// explained is an execution with why it hasn't ended. The lock is held.
func (g *gate) explained(x *gateExecution) api.Execution {
	out := x.Execution
	switch h := g.hosts[x.Host]; {
	case x.FinishedAt != nil:
	case x.StartedAt != nil:
		out.Why = &api.Why{Code: "running", Text: "Runs since 2026-01-02 03:04:05 UTC, 10s; its time limit is 2026-01-02 04:04:05 UTC.", Since: x.StartedAt}
	case h.DuplicateSince != nil:
		out.Why = &api.Why{Code: "duplicate", Text: "The host is a duplicate since 2026-01-02 03:04:05 UTC: two machines have its identity.", Since: h.DuplicateSince}
	case !h.Online:
		out.Why = &api.Why{Code: "offline", Text: "The host is offline since 2026-01-02 03:04:05 UTC, 2h 3m. It is kept for it until 2026-01-03 03:04:05 UTC.", Since: h.Since}
	default:
		out.Why = &api.Why{Code: "delivery", Text: "The host is online and has a free slot; the delivery is on its way."}
	}
	return out
}

func (g *gate) purge(r *http.Request) (any, error) {
	var req api.PurgeRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, refuse(400, "invalid", "%v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := g.hostLocked(r); err != nil {
		return nil, err
	}
	var sum api.Cancellation
	for _, j := range g.jobs {
		c := g.cancelLocked(j, func(x *gateExecution) bool { return x.Host == r.PathValue("host") && (req.Running || x.pid == 0) })
		sum.Cancelled += c.Cancelled
		sum.Asked += c.Asked
	}
	return sum, nil
}

func (g *gate) patch(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, err := g.hostLocked(r)
	if err != nil {
		return nil, err
	}
	var p api.HostPatch
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		return nil, refuse(400, "invalid", "%v", err)
	}
	for k, v := range p.Labels {
		if v == nil {
			delete(h.Labels, k)
		} else {
			h.Labels[k] = *v
		}
	}
	if p.ResolveDuplicate {
		h.DuplicateSince = nil
	}
	return h, nil
}

func (g *gate) delete(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, err := g.hostLocked(r)
	if err != nil {
		return nil, err
	}
	h.Revoked = true
	if r.Method == http.MethodDelete {
		delete(g.hosts, h.ID)
	}
	return struct{}{}, nil
}

func (g *gate) enroll(r *http.Request) (any, error) {
	var req api.EnrollTokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return nil, refuse(400, "invalid", "%v", err)
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, refuse(500, "internal", "%v", err)
	}
	return api.EnrollToken{Token: "token-for-" + string(b), Expires: time.Now().Add(time.Hour)}, nil
}
