package operator

import (
	"context"
	"crypto/rand"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
)

// Submit hands in a job and returns when it is durable. It carries an idempotency key of
// its own, so that its repetitions make one job.
func (c *Client) Submit(ctx context.Context, req api.JobRequest) (api.Job, error) {
	return c.SubmitWithKey(ctx, rand.Text(), req)
}

// SubmitWithKey is Submit with the caller's own idempotency key, for programs that must not
// submit twice across their own restarts. The same key with another request gives
// a Problem with the code "conflict".
func (c *Client) SubmitWithKey(ctx context.Context, key string, req api.JobRequest) (api.Job, error) {
	var job api.Job
	err := c.call(ctx, request{method: "POST", path: []string{"jobs"}, body: req, key: key}, &job)
	return job, err
}

// JobOptions says what is wanted with a job.
type JobOptions struct {
	// Wait lets the server hold the answer until the job is done, or so long.
	Wait time.Duration
	// Script asks for the script's text.
	Script bool
}

// Job gives a job and how far it is. Problems: not_found.
func (c *Client) Job(ctx context.Context, id string, o JobOptions) (api.Job, error) {
	var job api.Job
	err := c.call(ctx, jobRequest(id, o), &job)
	return job, err
}

func jobRequest(id string, o JobOptions) request {
	q := url.Values{}
	if o.Wait > 0 {
		q.Set("wait", o.Wait.String())
	}
	if o.Script {
		q.Set("script", "true")
	}
	return request{method: "GET", path: []string{"jobs", id}, query: q, wait: o.Wait}
}

// JobPage gives a page of jobs, newest first. limit 0 = the server's default.
func (c *Client) JobPage(ctx context.Context, after string, limit int) (api.JobList, error) {
	var l api.JobList
	err := c.call(ctx, request{method: "GET", path: []string{"jobs"}, query: page(url.Values{}, after, limit)}, &l)
	return l, err
}

// Jobs gives all jobs, newest first, reading pages as it goes. It ends after
// the first error, which it yields. limit is the size of a page, 0 = the server's default.
func (c *Client) Jobs(ctx context.Context, limit int) iter.Seq2[api.Job, error] {
	return pages(func(after string) ([]api.Job, string, error) {
		l, err := c.JobPage(ctx, after, limit)
		return l.Jobs, l.Next, err
	})
}

// ExecutionQuery says which executions of a job are wanted.
type ExecutionQuery struct {
	Job    string
	States []string // by name; nil = all
	After  string   // cursor
	Limit  int      // of a page; 0 = the server's default
	Why    bool     // say why not yet, with each that hasn't ended
}

// ExecutionPage gives a page of a job's executions, by ordinal.
func (c *Client) ExecutionPage(ctx context.Context, q ExecutionQuery) (api.ExecutionList, error) {
	v := url.Values{}
	if len(q.States) > 0 {
		v.Set("state", strings.Join(q.States, ","))
	}
	if q.Why {
		v.Set("why", "true")
	}
	var l api.ExecutionList
	err := c.call(ctx, request{method: "GET", path: []string{"jobs", q.Job, "executions"}, query: page(v, q.After, q.Limit)}, &l)
	return l, err
}

// Executions gives a job's executions, by ordinal, reading pages as it goes. It
// ends after the first error, which it yields.
func (c *Client) Executions(ctx context.Context, q ExecutionQuery) iter.Seq2[api.Execution, error] {
	after := q.After
	return pages(func(next string) ([]api.Execution, string, error) {
		q.After = next
		if next == "" {
			q.After = after
		}
		l, err := c.ExecutionPage(ctx, q)
		return l.Executions, l.Next, err
	})
}

// Execution gives one, and why it hasn't ended if it hasn't. Problems: not_found if the host is no target of the job.
func (c *Client) Execution(ctx context.Context, job, host string) (api.Execution, error) {
	var x api.Execution
	err := c.call(ctx, request{method: "GET", path: []string{"jobs", job, "executions", host}}, &x)
	return x, err
}

// States gives one byte for each target of the job, at its ordinal: the letter
// of its state.
func (c *Client) States(ctx context.Context, job string) ([]byte, error) {
	var b []byte
	err := c.call(ctx, request{method: "GET", path: []string{"jobs", job, "states"}}, &b)
	return b, err
}

// TargetPage gives the hosts of a job from an ordinal on. limit 0 = the server's
// default.
func (c *Client) TargetPage(ctx context.Context, job string, from, limit int) (api.TargetList, error) {
	q := url.Values{"from": {strconv.Itoa(from)}}
	var l api.TargetList
	err := c.call(ctx, request{method: "GET", path: []string{"jobs", job, "targets"}, query: page(q, "", limit)}, &l)
	return l, err
}

// Targets gives the hosts of a job by ordinal, reading pages as it goes. It ends
// after the first error, which it yields.
func (c *Client) Targets(ctx context.Context, job string) iter.Seq2[string, error] {
	const size = 1000
	return func(yield func(string, error) bool) {
		for from := 0; ; {
			l, err := c.TargetPage(ctx, job, from, size)
			if err != nil {
				yield("", err)
				return
			}
			for _, h := range l.Hosts {
				if !yield(h, nil) {
					return
				}
			}
			from += len(l.Hosts)
			if len(l.Hosts) == 0 || from >= l.Total {
				return
			}
		}
	}
}

// Cancel ends executions of a job: an empty selection means all. What has not been accepted
// ends at once; hosts are asked to end the others. Repeating it is harmless. Problems: invalid if no target
// matches the selector.
func (c *Client) Cancel(ctx context.Context, job string, s api.Selection) (api.Cancellation, error) {
	var a api.Cancellation
	err := c.call(ctx, request{method: "POST", path: []string{"jobs", job, "cancel"}, body: s}, &a)
	return a, err
}

// Rerun makes a new job of the selected executions' hosts, with the same script
// and options, but for not_before; an empty selection means all. Like Submit, it makes one job however often it is
// repeated on the way.
func (c *Client) Rerun(ctx context.Context, job string, s api.Selection) (api.Job, error) {
	var j api.Job
	err := c.call(ctx, request{method: "POST", path: []string{"jobs", job, "rerun"}, body: s, key: rand.Text()}, &j)
	return j, err
}

func page(q url.Values, after string, limit int) url.Values {
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

// pages makes one sequence of all pages that get gives.
func pages[T any](get func(after string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		after := ""
		for {
			items, next, err := get(after)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
			if next == "" || next == after {
				return
			}
			after = next
		}
	}
}
