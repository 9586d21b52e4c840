package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// gate is a server for tests: it speaks the operators' API, and its hosts are shells on
// this machine, each with its id in $HOST.
type gate struct {
	t     testing.TB
	url   string
	token string

	mu    sync.Mutex
	moved *sync.Cond // something changed
	hosts map[string]*api.Host
	jobs  []*gateJob
	keys  map[string]*gateJob
	fail  func(r *http.Request) int // a status to fail with; 0 = none
	runs  sync.WaitGroup
	calls map[string]int // by method and first part of the path
}

type gateJob struct {
	api.Job
	script []byte
	xs     []*gateExecution
}

type gateExecution struct {
	api.Execution
	out map[string][]byte // by stream; "" = both
	pid int
}

// newGate starts a server with these hosts; "name!" is one that is offline.
func newGate(t testing.TB, hosts ...string) *gate {
	g := &gate{t: t, token: "operator-token", hosts: map[string]*api.Host{}, keys: map[string]*gateJob{}, calls: map[string]int{}}
	g.moved = sync.NewCond(&g.mu)
	now := time.Now()
	for _, h := range hosts {
		id, off := strings.CutSuffix(h, "!")
		g.hosts[id] = &api.Host{ID: id, Incarnation: 1, Labels: map[string]string{"role": strings.TrimRight(id, "0123456789")},
			EnrolledAt: now, Online: !off, Since: &now, AgentVersion: "1.0"}
		if !off {
			g.hosts[id].Transport = "socket"
		}
	}
	s := httptest.NewServer(g.routes())
	g.url = s.URL
	t.Cleanup(func() {
		g.mu.Lock()
		for _, j := range g.jobs {
			g.cancelLocked(j, nil)
		}
		g.mu.Unlock()
		g.runs.Wait()
		s.CloseClientConnections()
		s.Close()
	})
	return g
}

func (g *gate) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]func(*http.Request) (any, error){
		"POST /v1/jobs":                       g.submit,
		"GET /v1/jobs":                        g.listJobs,
		"GET /v1/jobs/{id}":                   g.showJob,
		"GET /v1/jobs/{id}/executions":        g.executions,
		"GET /v1/jobs/{id}/executions/{host}": g.execution,
		"GET /v1/jobs/{id}/states":            g.states,
		"GET /v1/jobs/{id}/targets":           g.targets,
		"POST /v1/jobs/{id}/cancel":           g.cancel,
		"POST /v1/jobs/{id}/rerun":            g.rerun,
		"GET /v1/hosts":                       g.listHosts,
		"GET /v1/hosts/{host}":                g.host,
		"GET /v1/hosts/{host}/queue":          g.queue,
		"PATCH /v1/hosts/{host}":              g.patch,
		"DELETE /v1/hosts/{host}":             g.delete,
		"POST /v1/hosts/{host}/revoke":        g.delete,
		"POST /v1/hosts/{host}/purge":         g.purge,
		"POST /v1/tokens/enroll":              g.enroll,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { reply(w, r, h) })
	}
	mux.HandleFunc("GET /v1/jobs/{id}/executions/{host}/output", g.output)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.calls[r.Method+" "+r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]++
		status := 0
		if g.fail != nil {
			status = g.fail(r)
		}
		g.mu.Unlock()
		switch {
		case status != 0:
			writeProblem(w, &api.Problem{Status: status, Code: "unavailable", Detail: "the store is away"})
		case r.Header.Get("Authorization") != "Bearer "+g.token:
			writeProblem(w, &api.Problem{Status: 401, Code: "unauthenticated", Detail: "the token's signature is not by a key of this gateway"})
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func reply(w http.ResponseWriter, r *http.Request, h func(*http.Request) (any, error)) {
	v, err := h(r)
	if err != nil {
		writeProblem(w, err.(*api.Problem))
		return
	}
	if b, ok := v.([]byte); ok {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(b)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func writeProblem(w http.ResponseWriter, p *api.Problem) {
	w.Header().Set("Content-Type", api.ProblemType)
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
}

func refuse(status int, code, format string, args ...any) error {
	return &api.Problem{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

func (g *gate) submit(r *http.Request) (any, error) {
	var req api.JobRequest
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return nil, refuse(400, "invalid", "%v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var hosts []string
	for id, h := range g.hosts {
		switch {
		case req.Selector != "" && !strings.HasPrefix(req.Selector, "role="):
			return nil, refuse(400, "invalid", "selector: %q at byte 4: want an operator", req.Selector)
		case req.All, slices.Contains(req.Hosts, id), req.Selector == "role="+h.Labels["role"]:
			hosts = append(hosts, id)
		}
	}
	for _, id := range req.Hosts {
		if g.hosts[id] == nil {
			return nil, &api.Problem{Status: 404, Code: "not_found", Detail: "hosts that are not enrolled", Items: []string{id}}
		}
	}
	script := []byte(req.Script)
	if len(req.ScriptBase64) > 0 {
		script = req.ScriptBase64
	}
	lane := req.Lane
	if lane == "" {
		lane = "default"
	}
	if len(hosts) == 0 {
		return nil, refuse(400, "invalid", "selector: no host matches %s", req.Selector)
	}
	recheck := ""
	if req.Recheck {
		recheck = req.Selector
	}
	return g.start(r.Header.Get(api.IdempotencyKey), hosts, script, api.Job{Offline: req.Offline, SupersedeKey: req.SupersedeKey, Recheck: recheck,
		Name: req.Name, Lane: lane, Priority: req.Priority, User: req.User,
		Env: req.Env, Dir: req.Dir, Selection: "hosts", RunTimeout: api.Duration(time.Hour), PickupTimeout: api.Duration(24 * time.Hour), NotBefore: req.NotBefore})
}

// start makes a job, and runs it on the hosts that are online.
func (g *gate) start(key string, hosts []string, script []byte, j api.Job) (any, error) {
	if key == "" {
		return nil, refuse(400, "invalid", "no idempotency key")
	}
	if was := g.keys[key]; was != nil {
		return was.Job, nil
	}
	slices.Sort(hosts)
	now := time.Now()
	j.ID, j.CreatedAt, j.CreatedBy, j.Control, j.Targets = string(queue.NewJobID(now)), now, "tester", "active", len(hosts)
	j.ScriptSize, j.ScriptSHA256 = int64(len(script)), queue.ScriptDigest(script)
	job := &gateJob{Job: j, script: script}
	for i, h := range hosts {
		x := &gateExecution{Execution: api.Execution{ID: j.ID + "." + h, Job: j.ID, Host: h, Ordinal: i, State: "queued", Lane: j.Lane, ReleasedAt: &now}, out: map[string][]byte{}}
		job.xs = append(job.xs, x)
		if g.hosts[h].Online {
			g.runs.Go(func() { g.run(job, x) })
		}
	}
	g.jobs, g.keys[key] = append(g.jobs, job), job
	job.count()
	return job.Job, nil
}

// online lets an offline host come.
func (g *gate) online(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hosts[host].Online = true
	for _, j := range g.jobs {
		for _, x := range j.xs {
			if x.Host == host && x.State == "queued" {
				g.runs.Go(func() { g.run(j, x) })
			}
		}
	}
}

// double marks a host as two machines.
func (g *gate) double(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hosts[host].DuplicateSince = &time.Time{}
}

// run runs the job's script as one host.
func (g *gate) run(j *gateJob, x *gateExecution) {
	cmd := exec.Command("/bin/sh", "-c", string(j.script))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOST=" + x.Host}
	for k, v := range j.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = &gateStream{g, x, "stdout"}, &gateStream{g, x, "stderr"}
	g.mu.Lock()
	if x.FinishedAt != nil {
		g.mu.Unlock()
		return
	}
	if err := cmd.Start(); err != nil {
		g.t.Errorf("start %s: %v", x.Host, err)
		g.mu.Unlock()
		return
	}
	now := time.Now()
	x.State, x.StartedAt, x.pid = "running", &now, cmd.Process.Pid
	j.count()
	g.moved.Broadcast()
	g.mu.Unlock()
	err := cmd.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	state, code := "succeeded", cmd.ProcessState.ExitCode()
	if err != nil {
		state = "failed"
	}
	if x.CancelledAt != nil {
		state = "cancelled"
	}
	x.end(state, &api.Result{Outcome: state, ExitCode: code})
	if strings.HasPrefix(string(x.out["stderr"]), "come late") { // or that it is thought lost
		x.Late = &api.Result{Outcome: state, ExitCode: code, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		x.end("lost", &api.Result{Outcome: "lost", ExitCode: -1, Reason: "the host was silent"})
	}
	if s := strings.TrimPrefix(string(x.out["stderr"]), "reason "); len(s) < len(x.out["stderr"]) {
		x.Result.Reason = s // a script may make up what its host says
	}
	j.count()
	g.moved.Broadcast()
}

func (x *gateExecution) end(state string, r *api.Result) {
	now := time.Now()
	x.State, x.FinishedAt, x.Result, x.pid = state, &now, r, 0
}

// count sums the executions up. The lock is held.
func (j *gateJob) count() {
	j.Counters, j.Done, j.Failed = api.Counters{}, 0, 0
	for _, s := range queue.States() {
		j.Counters[s.String()] = 0
	}
	for _, x := range j.xs {
		s, _ := queue.ParseState(x.State)
		j.Counters[x.State]++
		if s.Terminal() {
			j.Done++
		}
		if s.Failure() {
			j.Failed++
		}
	}
	j.Outstanding = len(j.xs) - j.Done
	if j.Outstanding == 0 && j.FinishedAt == nil {
		now := time.Now()
		j.FinishedAt = &now
	}
}

type gateStream struct {
	g    *gate
	x    *gateExecution
	name string
}

func (s *gateStream) Write(p []byte) (int, error) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	s.x.out[s.name] = append(s.x.out[s.name], p...)
	s.x.out[""] = append(s.x.out[""], p...)
	s.x.Output.Stdout, s.x.Output.Stderr = int64(len(s.x.out["stdout"])), int64(len(s.x.out["stderr"]))
	s.g.moved.Broadcast()
	return len(p), nil
}
