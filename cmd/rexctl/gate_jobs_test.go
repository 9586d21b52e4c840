package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// wait waits until done says so, the lock being held, or ctx ends.
func (g *gate) wait(ctx context.Context, done func() bool) {
	stop := context.AfterFunc(ctx, func() { g.mu.Lock(); g.moved.Broadcast(); g.mu.Unlock() })
	defer stop()
	for ctx.Err() == nil && !done() {
		g.moved.Wait()
	}
}

func (g *gate) find(r *http.Request) (*gateJob, *gateExecution, error) {
	for _, j := range g.jobs {
		if j.ID != r.PathValue("id") {
			continue
		}
		for _, x := range j.xs {
			if x.Host == r.PathValue("host") {
				return j, x, nil
			}
		}
		if h := r.PathValue("host"); h != "" {
			return nil, nil, refuse(404, "not_found", "host %s is no target of job %s", h, j.ID)
		}
		return j, nil, nil
	}
	return nil, nil, refuse(404, "not_found", "there is no job %s", r.PathValue("id"))
}

func (g *gate) showJob(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	if d, _ := time.ParseDuration(r.URL.Query().Get("wait")); d > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		g.wait(ctx, func() bool { return j.FinishedAt != nil })
	}
	answer := j.Job
	if r.URL.Query().Get("script") == "true" {
		answer.Script = string(j.script)
	}
	return answer, nil
}

func (g *gate) listJobs(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := []api.Job{}
	for _, j := range slices.Backward(g.jobs) {
		all = append(all, j.Job)
	}
	items, next := cut(r, all)
	return api.JobList{Jobs: items, Next: next}, nil
}

func (g *gate) executions(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	states := strings.Split(r.URL.Query().Get("state"), ",")
	all := []api.Execution{}
	for _, x := range j.xs {
		if states[0] == "" || slices.Contains(states, x.State) {
			if r.URL.Query().Get("why") == "true" {
				all = append(all, g.explained(x))
			} else {
				all = append(all, x.Execution)
			}
		}
	}
	items, next := cut(r, all)
	return api.ExecutionList{Executions: items, Next: next}, nil
}

// cut makes a page.
func cut[T any](r *http.Request, all []T) ([]T, string) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("after"))
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 100
	}
	if to := from + limit; to < len(all) {
		return all[from:to], strconv.Itoa(to)
	}
	return all[min(from, len(all)):], ""
}

func (g *gate) execution(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, x, err := g.find(r)
	if err != nil {
		return nil, err
	}
	return g.explained(x), nil
}

func (g *gate) states(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	b := make([]byte, len(j.xs))
	for i, x := range j.xs {
		s, _ := queue.ParseState(x.State)
		b[i] = byte(s)
	}
	return b, nil
}

func (g *gate) targets(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	j, _, err := g.find(r)
	if err != nil {
		return nil, err
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	l := api.TargetList{From: from, Total: len(j.xs)}
	for _, x := range j.xs[from:min(len(j.xs), from+100)] {
		l.Hosts = append(l.Hosts, x.Host)
	}
	return l, nil
}

func (g *gate) output(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	_, x, err := g.find(r)
	g.mu.Unlock()
	if err != nil {
		writeProblem(w, err.(*api.Problem))
		return
	}
	from := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
		w.WriteHeader(http.StatusPartialContent)
	}
	stream, follow := r.URL.Query().Get("stream"), r.URL.Query().Get("follow") == "true"
	for {
		http.NewResponseController(w).Flush()
		g.mu.Lock()
		if follow {
			g.wait(r.Context(), func() bool { return len(x.out[stream]) > from || x.FinishedAt != nil })
		}
		b, over := slices.Clone(x.out[stream][min(from, len(x.out[stream])):]), !follow || x.FinishedAt != nil || r.Context().Err() != nil
		g.mu.Unlock()
		w.Write(b)
		from += len(b)
		if over {
			return
		}
	}
}
