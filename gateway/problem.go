package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
)

// Codes of problems besides those of package queue.
const (
	codeUnauthenticated = "unauthenticated"
	codeWrongKind       = "wrong_kind"
	codeTokenTime       = "token_time"
	codeForbidden       = "forbidden"
	codeRevoked         = "revoked"
	codeDraining        = "draining"     // this gateway is going
	codeOverloaded      = "overloaded"   // the class of requests is at its limit
	codeRateLimited     = "rate_limited" // this identity is at its limit
	codeTooLarge        = "too_large"
	codeMediaType       = "media_type"
	codeMethod          = "method"
	codeGone            = "gone"
	codeRange           = "range"
	codeInternal        = "internal"
)

// titles are the problems' titles and statuses, by code.
var titles = map[string]struct {
	status int
	title  string
}{
	string(queue.Invalid):     {400, "The request is wrong"},
	string(queue.NotFound):    {404, "Not found"},
	string(queue.Conflict):    {409, "Taken by something else"},
	string(queue.Full):        {503, "The store is full"},
	string(queue.Superseded):  {409, "Another session has taken over"},
	string(queue.Duplicate):   {409, "Two machines claim one identity"},
	string(queue.Forbidden):   {403, "Not allowed"},
	string(queue.Unavailable): {503, "The store is away"},
	codeUnauthenticated:       {401, "No valid token"},
	codeWrongKind:             {401, "A token of the wrong kind"},
	codeTokenTime:             {401, "The token's time is wrong"},
	codeRevoked:               {403, "The host is revoked"},
	codeDraining:              {503, "This gateway is going"},
	codeOverloaded:            {503, "Too many requests of this kind"},
	codeRateLimited:           {429, "Too many requests"},
	codeTooLarge:              {413, "The body is too large"},
	codeMediaType:             {415, "Not JSON"},
	codeMethod:                {405, "Not possible here"},
	codeGone:                  {410, "Deleted"},
	codeRange:                 {416, "No such range"},
	codeInternal:              {500, "The gateway failed"},
}

// refusal is an error of the gateway itself.
type refusal struct {
	code   string
	detail string
	retry  time.Duration
}

func (e *refusal) Error() string { return e.detail }

func refused(code, format string, args ...any) *refusal {
	return &refusal{code: code, detail: fmt.Sprintf(format, args...)}
}

// invalid is the most frequent refusal.
func invalid(format string, args ...any) error { return queue.Errorf(queue.Invalid, format, args...) }

// defaultRetry is told where a 429 or 503 knows no better.
const defaultRetry = 5 * time.Second

// problemOf makes a problem document of an error: the one place where
// errors get their status. A retry of 0 means that none is told.
func problemOf(err error) (p api.Problem, retry time.Duration) {
	var (
		q *queue.Error
		a *auth.Error
		r *refusal
	)
	switch {
	case errors.As(err, &r):
		p.Code, p.Detail, retry = r.code, r.detail, r.retry
	case errors.As(err, &a):
		p.Code, p.Detail = authCode(a.Reason), a.Message
	case errors.As(err, &q):
		p.Code, p.Detail, p.Items, retry = string(q.Code), q.Message, q.Items, q.Retry
	case errors.Is(err, context.DeadlineExceeded):
		p.Code, p.Detail = string(queue.Unavailable), "the store didn't answer in time; ask again"
	default:
		p.Code, p.Detail = codeInternal, "the gateway failed in a way that it didn't foresee; its log says more"
	}
	t, ok := titles[p.Code]
	if !ok {
		p.Code, p.Detail = codeInternal, "the gateway failed in a way that it didn't foresee; its log says more"
		t = titles[codeInternal]
	}
	p.Type, p.Title, p.Status = "urn:rexgate:problem:"+p.Code, t.title, t.status
	if p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable {
		if retry <= 0 {
			retry = defaultRetry
		}
	}
	if len(p.Items) > 20 {
		p.Items = p.Items[:20]
	}
	return p, retry
}

func authCode(r auth.Reason) string {
	switch r {
	case auth.WrongKind:
		return codeWrongKind
	case auth.Time:
		return codeTokenTime
	case auth.Revoked:
		return codeRevoked
	case auth.Scope, auth.Used:
		return codeForbidden
	}
	return codeUnauthenticated
}

// fail answers with a problem document and counts it. what names the route.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, rt *route, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody is there to be answered
	}
	p, retry := problemOf(err)
	if p.Status >= 500 && p.Code != codeOverloaded && p.Code != codeDraining {
		g.log.Error("a request failed", "route", rt.name, "code", p.Code, "err", err)
	} else {
		g.log.Debug("a request was refused", "route", rt.name, "code", p.Code, "err", err)
	}
	g.metrics.problem(rt, p.Code)
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="rexgate"`)
		if p.Code == codeTokenTime {
			p.Time = time.Now().UnixMilli()
		}
	case http.StatusRequestEntityTooLarge:
		if r.ProtoMajor > 1 {
			// The connection has other streams, and this one is reset at the end if its body
			// isn't read: who still sends would lose the answer.
			discard(w, r.Body)
			break
		}
		h.Set("Connection", "close") // the rest of the body is of no interest
	}
	if retry == 0 && rt.agent {
		retry = agentRetry(p)
	}
	if retry > 0 {
		h.Set("Retry-After", seconds(retry))
	}
	writeProblem(w, p)
}

// agentRetry is when an agent may ask again: its polls are paced by the answers,
// errors included.
func agentRetry(p api.Problem) time.Duration {
	switch p.Code {
	case codeTokenTime, string(queue.Superseded):
		return time.Second
	case codeRevoked:
		return 5 * time.Minute
	}
	return 30 * time.Second
}

func writeProblem(w http.ResponseWriter, p api.Problem) {
	h := w.Header()
	h.Set("Content-Type", api.ProblemType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")
	w.WriteHeader(p.Status)
	b, err := json.Marshal(p)
	if err != nil {
		return // strings and numbers always marshal
	}
	_, _ = w.Write(append(b, '\n')) // who has gone needs no answer
}

// seconds formats a Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}
