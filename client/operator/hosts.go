package operator

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/rexgate/rexgate/gateway/api"
)

// HostQuery says which hosts are wanted.
type HostQuery struct {
	Selector string // "" = all
	Online   *bool  // nil = both
	After    string // cursor
	Limit    int    // of a page; 0 = the server's default
}

// HostPage gives a page of hosts, by id.
func (c *Client) HostPage(ctx context.Context, q HostQuery) (api.HostList, error) {
	v := url.Values{}
	if q.Selector != "" {
		v.Set("selector", q.Selector)
	}
	if q.Online != nil {
		v.Set("online", strconv.FormatBool(*q.Online))
	}
	var l api.HostList
	err := c.call(ctx, request{method: "GET", path: []string{"hosts"}, query: page(v, q.After, q.Limit)}, &l)
	return l, err
}

// Hosts gives hosts by id, reading pages as it goes. It ends after the first error, which
// it yields.
func (c *Client) Hosts(ctx context.Context, q HostQuery) iter.Seq2[api.Host, error] {
	after := q.After
	return pages(func(next string) ([]api.Host, string, error) {
		q.After = next
		if next == "" {
			q.After = after
		}
		l, err := c.HostPage(ctx, q)
		return l.Hosts, l.Next, err
	})
}

// Host gives a host. Problems: not_found.
func (c *Client) Host(ctx context.Context, id string) (api.Host, error) {
	var h api.Host
	err := c.call(ctx, request{method: "GET", path: []string{"hosts", id}}, &h)
	return h, err
}

// HostQueue gives what waits for a host or is in its hands, in order of delivery, and
// why each hasn't ended: the first 100.
func (c *Client) HostQueue(ctx context.Context, id string) ([]api.Execution, error) {
	var l api.ExecutionList
	err := c.call(ctx, request{method: "GET", path: []string{"hosts", id, "queue"}, query: url.Values{"why": {"true"}}}, &l)
	return l.Executions, err
}

// PurgeHost cancels what waits in a host's queue, of any job; with running, the host is asked to end
// what it has accepted too. Repeating it is harmless. Problems: not_found.
func (c *Client) PurgeHost(ctx context.Context, id string, running bool) (api.Cancellation, error) {
	var a api.Cancellation
	err := c.call(ctx, request{method: "POST", path: []string{"hosts", id, "purge"}, body: api.PurgeRequest{Running: running}}, &a)
	return a, err
}

// PatchHost changes a host's labels, or clears its duplicate mark. Repeating it is harmless.
func (c *Client) PatchHost(ctx context.Context, id string, p api.HostPatch) (api.Host, error) {
	var h api.Host
	err := c.call(ctx, request{method: "PATCH", path: []string{"hosts", id}, body: p}, &h)
	return h, err
}

// RevokeHost bars a host and ends its session and its queue. Enrolling it anew undoes
// it. Repeating it is harmless.
func (c *Client) RevokeHost(ctx context.Context, id string) error {
	return c.call(ctx, request{method: "POST", path: []string{"hosts", id, "revoke"}}, nil)
}

// DeleteHost revokes a host and removes its record. Its executions stay
// readable. Problems: not_found.
func (c *Client) DeleteHost(ctx context.Context, id string) error {
	return c.call(ctx, request{method: "DELETE", path: []string{"hosts", id}, goneIsDone: true}, nil)
}

// EnrollToken makes a token with which hosts enrol.
func (c *Client) EnrollToken(ctx context.Context, r api.EnrollTokenRequest) (api.EnrollToken, error) {
	var t api.EnrollToken
	err := c.call(ctx, request{method: "POST", path: []string{"tokens", "enroll"}, body: r}, &t)
	return t, err
}
