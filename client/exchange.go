package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/session/wire"
)

// problem is what the link reads of a problem document.
type problem struct {
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Time   int64  `json:"time"` // the gateway's, with codeTokenTime
}

// Codes of problems that the link treats specially.
const (
	codeTokenTime = "token_time"
	codeDuplicate = "duplicate"
	codeForbidden = "forbidden"
	codeBusy      = "busy"
	codeRevoked   = "revoked"
)

// answer is an HTTP answer, read to its end.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem *problem // nil = the body is none
	retry   time.Duration
}

// exchange makes one request with the host's token, and reads the whole answer. A token that
// is refused is tried once more with the time that the answer gives: the host's
// clock may be wrong.
func exchange(ctx context.Context, ep *endpoint, id Identity, method, path string, body []byte) (answer, error) {
	a, err := exchangeOnce(ctx, ep, id, method, path, body)
	if err == nil && a.status == http.StatusUnauthorized && learnTime(id, a.header, a.problem) {
		return exchangeOnce(ctx, ep, id, method, path, body)
	}
	return a, err
}

func exchangeOnce(ctx context.Context, ep *endpoint, id Identity, method, path string, body []byte) (answer, error) {
	token, err := id.Token()
	if err != nil {
		return answer{}, fmt.Errorf("sign a token: %w", err)
	}
	return send(ctx, ep, token, method, path, body)
}

// send makes one request with a bearer token ("" = none), and reads the whole answer.
func send(ctx context.Context, ep *endpoint, token, method, path string, body []byte) (answer, error) {
	return sendUpTo(ctx, ep, token, method, path, body, wire.MaxFrame)
}

// sendUpTo is send for an answer of at most max bytes.
func sendUpTo(ctx context.Context, ep *endpoint, token, method, path string, body []byte, max int64) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, ep.url+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Cache-Control", "no-cache")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := ep.plain.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header, retry: retryAfter(resp.Header, time.Now())}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, max+1)); err != nil {
		return answer{}, fmt.Errorf("the answer was cut: %w", err)
	}
	if int64(len(a.body)) > max {
		return answer{}, fmt.Errorf("the answer is larger than %d bytes", max)
	}
	a.problem = readProblem(resp.Header, a.body)
	return a, nil
}

// readProblem gives the problem document that an answer is, nil if it is none.
func readProblem(h http.Header, body []byte) *problem {
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || t != "application/problem+json" {
		return nil
	}
	p := new(problem)
	if json.Unmarshal(body, p) != nil {
		return nil
	}
	return p
}

// err says what an answer that isn't a success was.
func (a answer) err() error { return statusError(a.status, a.problem) }

func statusError(status int, p *problem) error {
	var b strings.Builder
	fmt.Fprintf(&b, "answered %d %s", status, http.StatusText(status))
	switch {
	case p == nil && status == http.StatusProxyAuthRequired:
		b.WriteString(": the proxy wants (other) credentials")
	case p == nil:
		b.WriteString(", and not by a gateway, it seems")
	case p.Detail != "":
		b.WriteString(": " + p.Detail)
	case p.Title != "":
		b.WriteString(": " + p.Title)
	}
	return errors.New(b.String())
}

// outcome tells what an answer that isn't a success means.
func (a answer) outcome() outcome {
	if barred(a.status, a.problem) {
		return revoked(a.problem)
	}
	o := outcome{fault: faultUnreachable, retry: a.retry, err: a.err()}
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		o.fault, o.slow = faultRefused, true
	case http.StatusConflict:
		o.fault, o.slow = faultRefused, a.problem != nil && a.problem.Code == codeDuplicate
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		o.fault = faultRefused
	}
	return o
}

// barred tells whether a gateway says that this host is revoked. Whatever else is forbidden
// may be allowed later, without this agent being enrolled anew.
func barred(status int, p *problem) bool {
	return p != nil && status == http.StatusForbidden && p.Code == codeRevoked
}

func revoked(p *problem) outcome {
	return failed(faultTerminal, &TerminalError{Code: wire.CloseRevoked, Reason: p.Detail})
}

// malformed tells whether a gateway couldn't read what it got.
func (a answer) malformed() bool { return a.problem != nil && a.status == http.StatusBadRequest }

// postOutcome is outcome for what this agent had composed: where a gateway finds that
// wrong, repeating it is of no use.
func (a answer) postOutcome() outcome {
	if a.malformed() {
		return failed(faultTerminal, &TerminalError{Code: wire.CloseMalformed, Reason: a.problem.Detail})
	}
	if a.problem != nil && a.status == http.StatusForbidden && a.problem.Code == codeForbidden {
		return failed(faultTerminal, &TerminalError{Code: wire.CloseForbidden, Reason: a.problem.Detail})
	}
	return a.outcome()
}

// retryAfter reads Retry-After, in seconds or as a date; -1 if there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return -1
	}
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		return min(time.Duration(min(n, uint64(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return -1
	}
	// Against the answer's own date: this host's clock may be wrong.
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// learnTime learns the gateway's time from a 401; false if the time isn't why.
func learnTime(id Identity, h http.Header, p *problem) bool {
	if p != nil && p.Code != codeTokenTime {
		return false
	}
	if p != nil && p.Time > 0 {
		id.Learn(p.Time)
		return true
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return false
	}
	id.Learn(date.UnixMilli())
	return true
}
