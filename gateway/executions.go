package gateway

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

func (g *Gateway) listExecutions(w http.ResponseWriter, r *http.Request, _ caller) error {
	id, err := jobVar(r)
	if err != nil {
		return err
	}
	q := parseQuery(r, []string{"state", "after", "limit", "why"})
	query := queue.ExecutionQuery{Job: id, States: q.states(), After: q.cursor(), Limit: q.integer("limit", 100, 1, 1000)}
	why, _ := q.boolean("why")
	if q.err != nil {
		return q.err
	}
	xs, next, err := g.store.Executions(r.Context(), query)
	if err != nil {
		return err
	}
	l := apiExecutions(xs, next)
	if why {
		if err := g.explain(r.Context(), id, l.Executions); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, l)
}

func (g *Gateway) showExecution(w http.ResponseWriter, r *http.Request, _ caller) error {
	job, err := jobVar(r)
	if err != nil {
		return err
	}
	host, err := hostVar(r, "host")
	if err != nil {
		return err
	}
	x, err := g.store.Execution(r.Context(), job, host)
	if err != nil {
		return err
	}
	one := []api.Execution{apiExecution(x)}
	if err := g.explain(r.Context(), job, one); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, one[0])
}

func (g *Gateway) states(w http.ResponseWriter, r *http.Request, _ caller) error {
	id, err := jobVar(r)
	if err != nil {
		return err
	}
	b, err := g.store.States(r.Context(), id)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // who has gone needs no answer
	return nil
}

func (g *Gateway) targets(w http.ResponseWriter, r *http.Request, _ caller) error {
	id, err := jobVar(r)
	if err != nil {
		return err
	}
	q := parseQuery(r, []string{"from", "limit"})
	from, limit := q.integer("from", 0, 0, queue.MaxTargets), q.integer("limit", 1000, 1, targetsPage)
	if q.err != nil {
		return q.err
	}
	job, err := g.store.Job(r.Context(), id)
	if err != nil {
		return err
	}
	l := api.TargetList{From: from, Total: job.Targets, Hosts: []string{}}
	if from < job.Targets {
		hosts, err := g.store.Targets(r.Context(), id, from, limit)
		if err != nil {
			return err
		}
		for _, h := range hosts {
			l.Hosts = append(l.Hosts, string(h))
		}
	}
	return writeJSON(w, http.StatusOK, l)
}

// targetsPage is how many targets are read at once.
const targetsPage = 10_000

func (g *Gateway) cancelJob(w http.ResponseWriter, r *http.Request, c caller) error {
	id, sel, err := g.selection(w, r)
	if err != nil {
		return err
	}
	var sum queue.Cancellation
	if sel.everything() {
		if sum, err = g.store.Cancel(r.Context(), id, nil, c.operator.Subject); err != nil {
			return err
		}
	} else {
		hosts, err := g.selected(r.Context(), id, sel)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(hosts, 1000) {
			done, err := g.store.Cancel(r.Context(), id, part, c.operator.Subject)
			if err != nil {
				return err // what was done stays done; repeating the request does the rest
			}
			sum.Cancelled += done.Cancelled
			sum.Asked += done.Asked
		}
	}
	g.keeper.Submitted(id) // a cancel of a large job may be unfinished
	g.changed(id)
	g.log.Info("job cancelled", "job", id, "operator", c.operator.Subject, "all", sel.everything(), "cancelled", sum.Cancelled, "asked", sum.Asked)
	return writeJSON(w, http.StatusOK, api.Cancellation{Cancelled: sum.Cancelled, Asked: sum.Asked})
}

func (g *Gateway) rerunJob(w http.ResponseWriter, r *http.Request, c caller) error {
	id, sel, err := g.selection(w, r)
	if err != nil {
		return err
	}
	if done, err := g.repeated(w, r, c, sel.request); done || err != nil {
		return err
	}
	job, err := g.store.Job(r.Context(), id)
	if err != nil {
		return err
	}
	script, err := g.store.Script(r.Context(), id)
	if err != nil {
		return err
	}
	hosts, err := g.selected(r.Context(), id, sel)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return invalid("no execution of job %s is selected; nothing to run again", id)
	}
	targets, err := g.store.Select(r.Context(), queue.Selector{}, hosts)
	if err != nil {
		return err
	}
	spec := job.Spec.WithDefaults() // of a job that an older version stored
	spec.NotBefore = time.Time{}    // to run again is meant now
	n := queue.NewJob{Script: script, Targets: targets, Job: queue.Job{
		Spec: spec, CreatedBy: c.operator.Subject, RerunOf: id, Selection: "hosts",
	}}
	return g.submit(w, r, n, sel.request)
}

// selection is a checked api.Selection.
type selection struct {
	request  api.Selection
	hosts    []queue.HostID
	selector queue.Selector // of request.Selector
	states   []queue.State
}

func (s selection) everything() bool {
	return s.request.Hosts == nil && s.request.Selector == nil && s.request.States == nil
}

// selection reads the body of a cancel or a rerun. No body means everything; an
// empty list doesn't, since it is more likely a mistake than a wish.
func (g *Gateway) selection(w http.ResponseWriter, r *http.Request) (id queue.JobID, s selection, err error) {
	if id, err = jobVar(r); err != nil {
		return id, s, err
	}
	if err = g.decode(w, r, maxSubmitBody, true, &s.request); err != nil {
		return id, s, err
	}
	if s.request.Hosts != nil && len(s.request.Hosts) == 0 || s.request.States != nil && len(s.request.States) == 0 {
		return id, s, invalid("hosts or states is an empty list; leave it out to select all")
	}
	if s.request.Selector != nil && *s.request.Selector == "" {
		return id, s, invalid("selector: is empty; leave it out to select all")
	}
	if s.request.Hosts != nil && s.request.Selector != nil {
		return id, s, invalid("hosts and selector are both given; give one")
	}
	if s.hosts, err = hostIDs(s.request.Hosts); err != nil {
		return id, s, err
	}
	if s.request.Selector != nil {
		if s.selector, err = queue.ParseSelector(*s.request.Selector); err != nil {
			return id, s, err
		}
	}
	s.states, err = parseStates(s.request.States)
	return id, s, err
}

// selected gives the hosts of the executions that a selection names, by ordinal.
// A host that is no target gives NotFound, with its name; a selector that no target matches is
// more likely a mistake than a wish.
func (g *Gateway) selected(ctx context.Context, id queue.JobID, s selection) ([]queue.HostID, error) {
	states, err := g.store.States(ctx, id)
	if err != nil {
		return nil, err
	}
	wanted := make(map[queue.HostID]bool, len(s.hosts)) // true: seen
	for _, h := range s.hosts {
		wanted[h] = false
	}
	some, seen := len(s.hosts) > 0, 0
	if s.request.Selector != nil {
		matching, err := g.store.Select(ctx, s.selector, nil)
		if err != nil {
			return nil, err
		}
		for _, t := range matching {
			wanted[t.Host] = false
		}
		some = true
	}
	var hosts []queue.HostID
	for from := 0; from < len(states); {
		page, err := g.store.Targets(ctx, id, from, min(targetsPage, len(states)-from))
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return nil, queue.Errorf(queue.Unavailable, "the targets of job %s can't be read beyond %d of %d", id, from, len(states))
		}
		for i, h := range page {
			if _, ok := wanted[h]; ok {
				wanted[h] = true
				seen++
			} else if some {
				continue
			}
			if len(s.states) == 0 || from+i < len(states) && slices.Contains(s.states, queue.State(states[from+i])) {
				hosts = append(hosts, h)
			}
		}
		from += len(page)
	}
	if s.request.Selector != nil && seen == 0 {
		return nil, invalid("selector: no host of job %s matches %.200s", id, s.selector)
	}
	var strangers []string
	for _, h := range s.hosts {
		if !wanted[h] && len(strangers) < 20 {
			strangers = append(strangers, string(h))
		}
	}
	if len(strangers) > 0 {
		return nil, &queue.Error{Code: queue.NotFound, Items: strangers, Message: "host " + strangers[0] + " is no target of job " + string(id)}
	}
	return hosts, nil
}
