package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// MaxWait is the longest ?wait= that a request may ask for.
const MaxWait = 2 * time.Minute

func (g *Gateway) submitJob(w http.ResponseWriter, r *http.Request, c caller) error {
	var req api.JobRequest
	if err := g.decode(w, r, maxSubmitBody, false, &req); err != nil {
		return err
	}
	job, script, err := jobOf(req)
	if err != nil {
		return err
	}
	job.CreatedBy = c.operator.Subject
	if done, err := g.repeated(w, r, c, req); done || err != nil {
		return err
	}
	targets, selection, err := g.choose(r.Context(), req)
	if err != nil {
		return err
	}
	job.Selection = selection
	return g.submit(w, r, queue.NewJob{Job: job, Script: script, Targets: targets}, req)
}

// repeated answers a request whose Idempotency-Key was used for the same before: first
// of all, since its targets may have gone meanwhile. done is false if there is nothing to answer with.
func (g *Gateway) repeated(w http.ResponseWriter, r *http.Request, c caller, request any) (done bool, err error) {
	key, err := idempotencyKey(r, c.operator.Subject)
	if err != nil || key == "" {
		return false, err
	}
	sum, err := digest(r.URL.Path, request)
	if err != nil {
		return false, err
	}
	job, found, err := g.store.Repeat(r.Context(), key, sum)
	if err != nil || !found {
		return false, err
	}
	return true, g.answerSubmit(w, r, job, false)
}

// submit stores a job and answers with it. request is what a repeat is compared
// by.
func (g *Gateway) submit(w http.ResponseWriter, r *http.Request, n queue.NewJob, request any) error {
	subject := n.Job.CreatedBy
	key, err := idempotencyKey(r, subject)
	if err != nil {
		return err
	}
	if key != "" {
		n.IdempotencyKey = key
		if n.Digest, err = digest(r.URL.Path, request); err != nil {
			return err
		}
	}
	now := time.Now()
	n.Job.ID = queue.NewJobID(now)
	n.Job.ScriptSize, n.Job.ScriptSHA256 = int64(len(n.Script)), queue.ScriptDigest(n.Script)
	if err := n.Validate(); err != nil {
		return err
	}
	job, created, err := g.store.Submit(r.Context(), n)
	if err != nil {
		return err
	}
	return g.answerSubmit(w, r, job, created)
}

// answerSubmit answers with a job that is stored, by this request or one before.
func (g *Gateway) answerSubmit(w http.ResponseWriter, r *http.Request, job queue.Job, created bool) (err error) {
	g.keeper.Submitted(job.ID)
	g.changed(job.ID)
	status, answer := http.StatusOK, queue.JobStatus{Job: job, Counters: queue.Counters{queue.Planned: job.Targets}}
	if created {
		status = http.StatusCreated
		g.log.Info("job submitted", "job", job.ID, "operator", job.CreatedBy, "targets", job.Targets, "rerun_of", job.RerunOf)
	} else if answer, err = g.store.Job(r.Context(), job.ID); err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/jobs/"+string(job.ID))
	return writeJSON(w, status, apiJob(answer))
}

// jobOf checks what a request says of the job itself, before anything is looked
// up.
func jobOf(req api.JobRequest) (queue.Job, []byte, error) {
	if req.Script != "" && len(req.ScriptBase64) > 0 {
		return queue.Job{}, nil, invalid("script and script_b64 are both given; give one")
	}
	script := []byte(req.Script)
	if len(req.ScriptBase64) > 0 {
		script = req.ScriptBase64
	}
	if err := queue.ValidateScript(script); err != nil {
		return queue.Job{}, nil, err
	}
	spec := queue.Spec{
		Name: req.Name, User: req.User, Env: req.Env, Dir: req.Dir, Lane: queue.Lane(req.Lane), Priority: req.Priority,
		PickupTimeout: time.Duration(req.PickupTimeout), RunTimeout: time.Duration(req.RunTimeout),
		OutputLimit: req.OutputLimit, Grace: time.Duration(req.Grace),
		Offline: queue.OfflinePolicy(req.Offline), SupersedeKey: req.SupersedeKey,
	}
	if req.NotBefore != nil {
		spec.NotBefore = *req.NotBefore
	}
	if req.Recheck {
		if req.Selector == "" {
			return queue.Job{}, nil, invalid("recheck: goes only with selector, which is what is looked at again")
		}
		sel, err := queue.ParseSelector(req.Selector)
		if err != nil {
			return queue.Job{}, nil, err
		}
		spec.Recheck = sel.String()
	}
	spec = spec.WithDefaults()
	return queue.Job{Spec: spec}, script, spec.Validate()
}

// choose resolves the hosts of a request.
func (g *Gateway) choose(ctx context.Context, req api.JobRequest) (targets []queue.Target, selection string, err error) {
	given := 0
	for _, b := range []bool{req.Hosts != nil, req.Selector != "", req.All} {
		if b {
			given++
		}
	}
	if given != 1 {
		return nil, "", invalid("give one of hosts, selector and all; %d are given", given)
	}
	if req.Hosts != nil {
		targets, err = g.chooseHosts(ctx, req.Hosts)
		return targets, "hosts", err
	}
	selection = "all"
	var sel queue.Selector
	if req.Selector != "" {
		if sel, err = queue.ParseSelector(req.Selector); err != nil {
			return nil, "", err
		}
		selection = sel.String()
	}
	if targets, err = g.store.Select(ctx, sel, nil); err != nil {
		return nil, "", err
	}
	if len(targets) == 0 && req.All {
		return nil, "", invalid("no host is enrolled")
	}
	if len(targets) == 0 {
		return nil, "", invalid("selector: no host matches %.200s", selection)
	}
	return targets, selection, nil
}

// chooseHosts resolves hosts by name, each once.
func (g *Gateway) chooseHosts(ctx context.Context, names []string) ([]queue.Target, error) {
	if len(names) == 0 {
		return nil, invalid("hosts: none are named")
	}
	ids, err := hostIDs(names)
	if err != nil {
		return nil, err
	}
	return g.store.Select(ctx, queue.Selector{}, ids)
}

// hostIDs checks names of hosts: well formed, and none twice.
func hostIDs(names []string) ([]queue.HostID, error) {
	seen := make(map[string]bool, len(names))
	ids := make([]queue.HostID, len(names))
	var twice []string
	for i, name := range names {
		ids[i] = queue.HostID(name)
		if err := ids[i].Validate(); err != nil {
			return nil, err
		}
		if seen[name] && len(twice) < 20 {
			twice = append(twice, name)
		}
		seen[name] = true
	}
	if len(twice) > 0 {
		return nil, &queue.Error{Code: queue.Invalid, Message: "hosts: " + twice[0] + " is named twice", Items: twice}
	}
	return ids, nil
}

// idempotencyKey gives the request's key, scoped to the operator; "" if there is none.
func idempotencyKey(r *http.Request, subject string) (string, error) {
	values := r.Header.Values(api.IdempotencyKey)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > queue.MaxIdempotencyKey {
		return "", invalid("%s: is not one text of 1 to %d bytes", api.IdempotencyKey, queue.MaxIdempotencyKey)
	}
	for _, b := range []byte(key) {
		if b < ' ' || b > '~' {
			return "", invalid("%s: has characters that aren't printable ASCII", api.IdempotencyKey)
		}
	}
	sum := sha256.Sum256([]byte(subject + "\x00" + key))
	return hex.EncodeToString(sum[:]), nil
}

// digest is of what was asked, however it was written.
func digest(path string, request any) (string, error) {
	b, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(path+"\x00"), b...))
	return hex.EncodeToString(sum[:]), nil
}

func (g *Gateway) listJobs(w http.ResponseWriter, r *http.Request, _ caller) error {
	q := parseQuery(r, []string{"after", "limit"})
	after, limit := q.cursor(), q.integer("limit", 100, 1, 1000)
	if q.err != nil {
		return q.err
	}
	jobs, next, err := g.store.ListJobs(r.Context(), after, limit)
	if err != nil {
		return err
	}
	l := api.JobList{Jobs: make([]api.Job, len(jobs)), Next: next}
	for i, j := range jobs {
		l.Jobs[i] = apiJob(j)
	}
	return writeJSON(w, http.StatusOK, l)
}

func (g *Gateway) showJob(w http.ResponseWriter, r *http.Request, c caller) error {
	id, err := jobVar(r)
	if err != nil {
		return err
	}
	q := parseQuery(r, []string{"wait", "script"})
	wait := q.duration("wait", MaxWait)
	full, _ := q.boolean("script")
	if q.err != nil {
		return q.err
	}
	status, err := g.awaitJob(r.Context(), id, wait)
	if err != nil {
		return err
	}
	job := apiJob(status)
	if full {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		script, err := g.store.Script(ctx, id)
		if err != nil {
			return err
		}
		job = withScript(job, script)
	}
	return writeJSON(w, http.StatusOK, job)
}

// awaitJob gives a job when it is done or the wait is over, as it is then. A drain
// ends the wait.
func (g *Gateway) awaitJob(ctx context.Context, id queue.JobID, wait time.Duration) (queue.JobStatus, error) {
	first, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	status, err := g.store.Job(first, id)
	if err != nil || wait == 0 || !status.FinishedAt.IsZero() {
		return status, err
	}
	watcher, err := g.jobs.Watch(id)
	if err != nil {
		return status, err
	}
	defer watcher.Close()
	waiting, cancel := g.holding(ctx, wait)
	defer cancel()
	for {
		s, err := watcher.Next(waiting)
		switch {
		case ctx.Err() != nil:
			return status, ctx.Err()
		case waiting.Err() != nil:
			return status, nil
		case queue.CodeOf(err) == queue.Unavailable || errors.Is(err, context.DeadlineExceeded):
			continue // it may be back before the wait is over
		case err != nil:
			return status, err
		}
		if status = s; !s.FinishedAt.IsZero() {
			return status, nil
		}
	}
}

// holding gives a context that ends after d, or when the gateway goes.
func (g *Gateway) holding(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	stop := context.AfterFunc(g.leave, cancel)
	return ctx, func() { stop(); cancel() }
}
