package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/limits"
	"github.com/rexgate/rexgate/session/wire"
	"github.com/rexgate/rexgate/web"
)

// route is one method of one path.
type route struct {
	name   string // in logs and metrics
	method string
	path   string
	class  limits.Class // "" = not limited
	kind   auth.Kind    // of the token that is needed; "" = none
	scopes []string     // that an operator needs
	query  []string     // parameters that it knows; not checked for agents, who may be newer
	held   bool         // may take as long as it takes
	agent  bool
	serve  func(*Gateway, http.ResponseWriter, *http.Request, caller) error
}

// requestTimeout bounds a request that isn't held.
const requestTimeout = 30 * time.Second

func routes() []route {
	const (
		job  = "/v1/jobs/{id}"
		exec = job + "/executions"
		one  = exec + "/{host}"
		host = "/v1/hosts/{id}"
	)
	rs := []route{
		{name: "healthz", method: "GET", path: "/healthz", serve: (*Gateway).healthz},
		{name: "readyz", method: "GET", path: "/readyz", serve: (*Gateway).readyz},
		{name: "openapi", method: "GET", path: "/v1/openapi.yaml", serve: (*Gateway).openAPI},

		{name: "login", method: "POST", path: "/v1/login", class: limits.Login, serve: (*Gateway).login},
		{name: "logout", method: "DELETE", path: "/v1/login", class: limits.Login, serve: (*Gateway).logout},
		operator("who", "GET", "/v1/login", (*Gateway).whoAmI, nil),

		operator("submit", "POST", "/v1/jobs", (*Gateway).submitJob, nil, api.ScopeJobsSubmit),
		operator("jobs", "GET", "/v1/jobs", (*Gateway).listJobs, []string{"after", "limit"}, api.ScopeJobsRead),
		held(operator("job", "GET", job, (*Gateway).showJob, []string{"wait", "script"}, api.ScopeJobsRead)),
		operator("states", "GET", job+"/states", (*Gateway).states, nil, api.ScopeJobsRead),
		operator("targets", "GET", job+"/targets", (*Gateway).targets, []string{"from", "limit"}, api.ScopeJobsRead),
		operator("executions", "GET", exec, (*Gateway).listExecutions, []string{"state", "after", "limit", "why"}, api.ScopeJobsRead),
		operator("execution", "GET", one, (*Gateway).showExecution, nil, api.ScopeJobsRead),
		held(operator("output", "GET", one+"/output", (*Gateway).output, []string{"stream", "follow"}, api.ScopeOutputRead)),
		held(operator("watch", "GET", "/v1/watch", (*Gateway).watch, []string{"topic", "cursor"}, api.ScopeJobsRead)),
		operator("cancel", "POST", job+"/cancel", (*Gateway).cancelJob, nil, api.ScopeJobsCancel),
		operator("rerun", "POST", job+"/rerun", (*Gateway).rerunJob, nil, api.ScopeJobsSubmit, api.ScopeJobsRead),

		operator("hosts", "GET", "/v1/hosts", (*Gateway).listHosts, []string{"selector", "online", "after", "limit"}, api.ScopeHostsRead),
		operator("host", "GET", host, (*Gateway).showHost, nil, api.ScopeHostsRead),
		operator("queue", "GET", host+"/queue", (*Gateway).hostQueue, []string{"limit", "why"}, api.ScopeHostsRead, api.ScopeJobsRead),
		operator("purge_host", "POST", host+"/purge", (*Gateway).purgeHost, nil, api.ScopeJobsCancel),
		operator("patch_host", "PATCH", host, (*Gateway).patchHost, nil, api.ScopeHostsAdmin),
		operator("delete_host", "DELETE", host, (*Gateway).deleteHost, nil, api.ScopeHostsAdmin),
		operator("revoke_host", "POST", host+"/revoke", (*Gateway).revokeHost, nil, api.ScopeHostsAdmin),
		operator("enroll_token", "POST", "/v1/tokens/enroll", (*Gateway).enrollToken, nil, api.ScopeHostsAdmin),

		{name: "enroll", method: "POST", path: wire.PathEnroll, class: limits.Enroll, kind: auth.KindEnroll, agent: true, serve: (*Gateway).enroll},
		agent("socket", "GET", wire.PathSocket, limits.Upgrade, (*Gateway).agentSocket),
		agent("poll", "GET", wire.PathPoll, limits.Poll, (*Gateway).agentPoll),
		agent("messages", "POST", wire.PathMessages, limits.Messages, (*Gateway).agentMessages),
		agent("script", "GET", wire.PathScript+"{execution}", limits.Script, (*Gateway).agentScript),
	}
	return rs
}

type handler = func(*Gateway, http.ResponseWriter, *http.Request, caller) error

func operator(name, method, path string, h handler, query []string, scopes ...string) route {
	return route{name: name, method: method, path: path, class: limits.Operator, kind: auth.KindOperator, scopes: scopes, query: query, serve: h}
}

func agent(name, method, path string, class limits.Class, h handler) route {
	return route{name: name, method: method, path: path, class: class, kind: auth.KindHost, agent: true, held: true, serve: h}
}

func held(r route) route {
	r.held = true
	return r
}

// newRouter makes one mux route for each path, so that a wrong method is told with
// those that are right.
func (g *Gateway) newRouter() *mux.Router {
	router := mux.NewRouter().SkipClean(true)
	byPath := map[string]map[string]*route{}
	var paths []string
	for _, rt := range routes() {
		if byPath[rt.path] == nil {
			byPath[rt.path] = map[string]*route{}
			paths = append(paths, rt.path)
		}
		byPath[rt.path][rt.method] = &rt
	}
	for _, path := range paths {
		methods := byPath[path]
		router.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			rt, ok := methods[r.Method]
			if !ok && r.Method == http.MethodHead {
				// The answer is that of GET, whose body net/http leaves out.
				rt, ok = methods[http.MethodGet]
				ok = ok && !rt.agent
			}
			if !ok {
				g.wrongMethod(w, r, methods)
				return
			}
			g.serve(w, r, rt)
		})
	}
	page := web.Handler()
	router.PathPrefix("/static/").HandlerFunc(g.page(page))
	router.Path("/").HandlerFunc(g.page(page))
	none := &route{name: "none"}
	router.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.fail(w, r, none, refused("not_found", "there is no %.200q here; /v1/openapi.yaml lists what there is", r.URL.Path))
	})
	return router
}

// page serves the page in the browser: to everybody, since who isn't logged in does it there.
func (g *Gateway) page(h http.Handler) http.HandlerFunc {
	rt := &route{name: "page"}
	return func(w http.ResponseWriter, r *http.Request) {
		done := g.metrics.begin(rt)
		status := &recorder{ResponseWriter: w}
		defer func() { done(status.code()) }()
		h.ServeHTTP(status, r)
	}
}

func (g *Gateway) wrongMethod(w http.ResponseWriter, r *http.Request, methods map[string]*route) {
	var allowed []string
	for m, rt := range methods {
		allowed = append(allowed, m)
		if m == http.MethodGet && !rt.agent {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	g.fail(w, r, &route{name: "none"}, refused(codeMethod, "%.20s is not possible here; %s is", r.Method, strings.Join(allowed, ", ")))
}

// serve answers a request of a route.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	done := g.metrics.begin(rt)
	status := &recorder{ResponseWriter: w}
	defer func() { done(status.code()) }()
	if !rt.held {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	c, err := g.admit(r, rt)
	if err == nil {
		err = rt.serve(g, status, r, c)
	}
	if err != nil {
		g.fail(status, r, rt, err)
	}
}

// recorder remembers the status of an answer. Unwrap lets what is beneath be
// flushed, hijacked and given deadlines.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status != http.StatusContinue {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// code is the status; 0 if the caller had gone before an answer.
func (w *recorder) code() int { return w.status }
