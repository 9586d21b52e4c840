package gateway

import (
	"net/http"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func (g *Gateway) listHosts(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := parseQuery(r, []string{"selector", "online", "after", "limit"})
	query := queue.HostQuery{After: q.cursor(), Limit: q.integer("limit", 100, 1, 1000)}
	if online, given := q.boolean("online"); given {
		query.Online = &online
	}
	if text := q.values.Get("selector"); text != "" {
		sel, err := queue.ParseSelector(text)
		q.fail(err)
		query.Selector = sel
	}
	if q.err != nil {
		return q.err
	}
	hosts, next, err := g.store.ListHosts(r.Context(), query)
	if err != nil {
		return err
	}
	l := api.HostList{Hosts: make([]api.Host, len(hosts)), Next: next}
	for i, h := range hosts {
		l.Hosts[i] = apiHost(h)
	}
	return writeJSON(w, http.StatusOK, l)
}

func (g *Gateway) showHost(w http.ResponseWriter, r *http.Request, _ caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	h, err := g.store.Host(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, apiHost(h))
}

func (g *Gateway) hostQueue(w http.ResponseWriter, r *http.Request, _ caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	q := parseQuery(r, []string{"limit", "why"})
	limit := q.integer("limit", 100, 1, 1000)
	why, _ := q.boolean("why")
	if q.err != nil {
		return q.err
	}
	host, err := g.store.Host(r.Context(), id)
	if err != nil {
		return err
	}
	xs, err := g.store.HostQueue(r.Context(), id, limit)
	if err != nil {
		return err
	}
	l := apiExecutions(xs, "")
	if why {
		if err := g.explainQueue(r.Context(), host, xs, l.Executions); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, l)
}

// purgeHost cancels what waits in a host's queue, of any job.
func (g *Gateway) purgeHost(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	var req api.PurgeRequest
	if err := g.decode(w, r, maxBody, true, &req); err != nil {
		return err
	}
	// Whoever watches these jobs is told at once; of a longer queue the others are seen at the next look.
	waiting, err := g.store.HostQueue(r.Context(), id, queue.MaxPage)
	if err != nil {
		return err
	}
	done, err := g.store.Purge(r.Context(), id, req.Running, c.operator.Subject)
	told := map[queue.JobID]bool{}
	for _, x := range waiting {
		if !told[x.Job] { // also after an error: a part may be done
			told[x.Job] = true
			g.changed(x.Job)
		}
	}
	if err != nil {
		return err
	}
	g.log.Info("host purged", "host", id, "operator", c.operator.Subject, "running", req.Running, "cancelled", done.Cancelled, "asked", done.Asked)
	return writeJSON(w, http.StatusOK, api.Cancellation{Cancelled: done.Cancelled, Asked: done.Asked})
}

func (g *Gateway) patchHost(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	var req api.HostPatch
	if err := g.decode(w, r, maxBody, false, &req); err != nil {
		return err
	}
	if len(req.Labels) == 0 && !req.ResolveDuplicate {
		return invalid("nothing is to be changed; give labels or resolve_duplicate")
	}
	patch := queue.LabelPatch{Set: map[string]string{}}
	for k, v := range req.Labels {
		if v == nil {
			patch.Remove = append(patch.Remove, k)
		} else {
			patch.Set[k] = *v
		}
	}
	if err := queue.ValidateLabels(patch.Set); err != nil {
		return err
	}
	// Labels first: they can be refused, and then nothing has changed.
	if len(req.Labels) > 0 {
		if _, err := g.store.Label(r.Context(), id, patch); err != nil {
			return err
		}
	}
	if req.ResolveDuplicate {
		if err := g.store.ResolveDuplicate(r.Context(), id); err != nil {
			return err
		}
	}
	g.log.Info("host changed", "host", id, "operator", c.operator.Subject, "labels", len(req.Labels), "resolve_duplicate", req.ResolveDuplicate)
	h, err := g.store.Host(r.Context(), id)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, apiHost(h))
}

func (g *Gateway) revokeHost(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	if err := g.store.Revoke(r.Context(), id); err != nil {
		return err
	}
	g.barred(id, "revoked by an operator")
	g.log.Info("host revoked", "host", id, "operator", c.operator.Subject)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *Gateway) deleteHost(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := hostVar(r, "id")
	if err != nil {
		return err
	}
	if err := g.store.DeleteHost(r.Context(), id); err != nil {
		return err
	}
	g.barred(id, "deleted by an operator")
	g.log.Info("host deleted", "host", id, "operator", c.operator.Subject)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// barred shuts a host out of this gateway at once. Others learn it by the store's hint.
func (g *Gateway) barred(id queue.HostID, why string) {
	g.hosts.Forget(id)
	g.hub.Kick(id, wire.CloseRevoked, why)
}
