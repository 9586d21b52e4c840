package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// Bounds of what is read and waited for.
const (
	maxAnswer  = 64 << 20 // bytes of an answer, other than output
	maxProblem = 1 << 20
	tryTimeout = 30 * time.Second // of one try, besides what the server was asked to wait
)

// ErrUnreachable is in the chain of errors where no answer came at all.
var ErrUnreachable = errors.New("can't reach")

// request is a call of the API.
type request struct {
	method string
	path   []string // below /v1, unescaped
	query  url.Values
	body   any // JSON; nil = none
	key    string
	wait   time.Duration // that the server was asked to wait
	// goneIsDone: where an earlier try's answer was lost, "not found" says that it worked.
	goneIsDone bool
}

func (r *request) String() string { return r.method + " /v1/" + strings.Join(r.path, "/") }

// call does a request and decodes its JSON into out (nil = no body wanted),
// repeating it as the package comment says.
func (c *Client) call(ctx context.Context, r request, out any) error {
	return c.retry(ctx, func(lost bool) *failure {
		f := c.try(ctx, r, out)
		if f != nil && lost && r.goneIsDone {
			var p *api.Problem
			if errors.As(f.err, &p) && p.Status == http.StatusNotFound {
				return nil
			}
		}
		return f
	})
}

// try does a request once.
func (c *Client) try(ctx context.Context, r request, out any) *failure {
	limit := tryTimeout + r.wait
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	f := c.exchange(ctx, r, out)
	if f != nil && context.Cause(ctx) == errNoAnswer {
		// Not the caller's deadline: it must not look like that one.
		f.err = fmt.Errorf("%s: no answer from %s in %v", &r, c.base, limit)
	}
	return f
}

var errNoAnswer = errors.New("no answer in time")

func (c *Client) exchange(ctx context.Context, r request, out any) *failure {
	resp, f := c.send(ctx, r, nil)
	if f != nil {
		return f
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return c.refusal(r, resp)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		// Read to the end, so that the connection can be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxProblem))
		return nil
	}
	b, err := readBody(resp.Body, maxAnswer)
	if err != nil {
		return &failure{err: fmt.Errorf("%s: the answer was cut: %w", &r, err)}
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if t := mediaType(resp); t != "application/json" {
		return &failure{answered: true, final: true, err: c.stranger(r, resp, t)}
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &failure{answered: true, final: true, err: fmt.Errorf("%s: the answer of %s can't be understood: %w", &r, c.base, err)}
	}
	return nil
}

// send sends a request, and gives the answer whatever its status.
func (c *Client) send(ctx context.Context, r request, header http.Header) (*http.Response, *failure) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, &failure{final: true, err: fmt.Errorf("%s: %w", &r, err)}
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.url(r), body)
	if err != nil {
		return nil, &failure{final: true, err: fmt.Errorf("%s: %w", &r, err)}
	}
	token, err := c.opt.Token()
	if err != nil {
		return nil, &failure{final: true, err: err}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", c.opt.UserAgent)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set(api.IdempotencyKey, r.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text repeats the URL
		}
		return nil, &failure{err: fmt.Errorf("%w %s: %w", ErrUnreachable, c.base, err), final: finalTransport(err)}
	}
	return resp, nil
}

func (c *Client) url(r request) string {
	u := *c.base
	var raw strings.Builder
	raw.WriteString(c.base.EscapedPath() + "/v1")
	for _, p := range r.path {
		raw.WriteString("/" + url.PathEscape(p))
	}
	u.Path = c.base.Path + "/v1/" + strings.Join(r.path, "/")
	u.RawPath = raw.String()
	u.RawQuery = r.query.Encode()
	return u.String()
}

// refusal makes an error of an answer that isn't a success.
func (c *Client) refusal(r request, resp *http.Response) *failure {
	f := &failure{
		answered:   true,
		final:      !worthRetry(resp.StatusCode),
		retryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	t := mediaType(resp)
	if t == api.ProblemType {
		p := &api.Problem{}
		b, err := readBody(resp.Body, maxProblem)
		if err == nil {
			err = json.Unmarshal(b, p)
		}
		if err == nil {
			p.Status = resp.StatusCode
			if p.Detail == "" {
				p.Detail = r.String() + ": " + resp.Status
			}
			f.err = p
			return f
		}
	}
	if resp.StatusCode < 400 {
		f.err = fmt.Errorf("%s: %s answers %s, a redirect to %q; something else than rexgate answers, or the server's URL is wrong",
			&r, c.base, resp.Status, resp.Header.Get("Location"))
		return f
	}
	// A proxy's or a load balancer's own page: it may say anything about what was done.
	f.answered = resp.StatusCode < 500
	f.err = fmt.Errorf("%s: %w", &r, &api.Problem{
		Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode,
		Detail: fmt.Sprintf("%s answers %s without saying why: probably a proxy in between, or another program at this URL", c.base, resp.Status),
	})
	return f
}

func (c *Client) stranger(r request, resp *http.Response, mediaType string) error {
	return fmt.Errorf("%s: %s answers %s with %q instead of JSON: something else than rexgate answers, or the server's URL is wrong",
		&r, c.base, resp.Status, mediaType)
}

func mediaType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return resp.Header.Get("Content-Type")
	}
	return t
}

func readBody(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return b, nil
}
