package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// unwritable is a store that can be read, and takes nothing while it is full.
type unwritable struct {
	queue.Store
	full atomic.Bool
}

func (u *unwritable) err() error {
	if u.full.Load() {
		return queue.Errorf(queue.Unavailable, "no space left on device")
	}
	return nil
}

func (u *unwritable) Submit(ctx context.Context, n queue.NewJob) (queue.Job, bool, error) {
	if err := u.err(); err != nil {
		return queue.Job{}, false, err
	}
	return u.Store.Submit(ctx, n)
}

func (u *unwritable) Cancel(ctx context.Context, job queue.JobID, hosts []queue.HostID, by string) (queue.Cancellation, error) {
	if err := u.err(); err != nil {
		return queue.Cancellation{}, err
	}
	return u.Store.Cancel(ctx, job, hosts, by)
}

func (u *unwritable) Purge(ctx context.Context, host queue.HostID, running bool, by string) (queue.Cancellation, error) {
	if err := u.err(); err != nil {
		return queue.Cancellation{}, err
	}
	return u.Store.Purge(ctx, host, running, by)
}

func (u *unwritable) Enroll(ctx context.Context, e queue.Enrollment) (queue.Host, error) {
	if err := u.err(); err != nil {
		return queue.Host{}, err
	}
	return u.Store.Enroll(ctx, e)
}

func (u *unwritable) Label(ctx context.Context, id queue.HostID, p queue.LabelPatch) (queue.Host, error) {
	if err := u.err(); err != nil {
		return queue.Host{}, err
	}
	return u.Store.Label(ctx, id, p)
}

func (u *unwritable) Revoke(ctx context.Context, id queue.HostID) error {
	if err := u.err(); err != nil {
		return err
	}
	return u.Store.Revoke(ctx, id)
}

func (u *unwritable) DeleteHost(ctx context.Context, id queue.HostID) error {
	if err := u.err(); err != nil {
		return err
	}
	return u.Store.DeleteHost(ctx, id)
}

func (u *unwritable) ResolveDuplicate(ctx context.Context, id queue.HostID) error {
	if err := u.err(); err != nil {
		return err
	}
	return u.Store.ResolveDuplicate(ctx, id)
}

func (u *unwritable) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	if err := u.err(); err != nil {
		return queue.Claimed{}, err
	}
	return u.Store.Claim(ctx, c)
}

func (u *unwritable) Record(ctx context.Context, e queue.HostEvents) ([]queue.Ack, error) {
	if err := u.err(); err != nil {
		return nil, err
	}
	return u.Store.Record(ctx, e)
}

// Whatever changes something is answered with 503 and a time while the store doesn't take it, and works afterwards: nothing of the
// request that was refused is in its way.
func TestNoSuccessWithoutTheStore(t *testing.T) {
	store := &unwritable{Store: newStore(t)}
	b := newBedOn(t, store, newSigner(t), nil)
	for _, id := range []string{"works", "revoked", "deleted"} {
		b.enroll(id, nil).hello()
	}
	m := b.enroll("host", nil)
	m.hello()
	on := func(hosts ...string) api.Job {
		return read[api.Job](b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", Hosts: hosts}).is(201, ""))
	}
	job := on("host")
	mine := m.take()
	enroll := read[api.EnrollToken](b.ask("POST", "/v1/tokens/enroll", b.operator(), nil).is(201, "")).Token
	fresh := &machine{b: b, id: "fresh"}
	accepted := &wire.Accepted{Execution: mine.Execution, Seq: 1, At: time.Now().UnixMilli(), Token: mine.Token, Position: 1}
	ask := func(method, path string, body any) func() *answer {
		return func() *answer { return b.ask(method, path, b.operator(), body) }
	}
	requests := map[string]func() *answer{ // by the name of their routes
		"submit": func() *answer {
			return b.ask("POST", "/v1/jobs", b.operator(), api.JobRequest{Script: "true", Hosts: []string{"works"}}, "Idempotency-Key", "once")
		},
		"rerun":       ask("POST", "/v1/jobs/"+job.ID+"/rerun", nil),
		"cancel":      ask("POST", "/v1/jobs/"+on("works").ID+"/cancel", nil),
		"purge_host":  ask("POST", "/v1/hosts/works/purge", nil),
		"patch_host":  ask("PATCH", "/v1/hosts/works", `{"labels":{"a":"b"}}`),
		"revoke_host": ask("POST", "/v1/hosts/revoked/revoke", nil),
		"delete_host": ask("DELETE", "/v1/hosts/deleted", nil),
		"enroll":      func() *answer { return b.enrollWith(fresh, enroll) },
		"messages":    func() *answer { return m.post(accepted) },
	}
	for _, rt := range routes() {
		changes := rt.method != "GET" && rt.name != "login" && rt.name != "logout" && rt.name != "enroll_token" // those store nothing
		if changes != (requests[rt.name] != nil) {
			t.Errorf("%s %s: asked %v, want %v", rt.method, rt.path, !changes, changes)
		}
	}

	store.full.Store(true)
	for name, request := range requests {
		if a := request().is(503, "unavailable"); a.header.Get("Retry-After") == "" {
			t.Errorf("%s: refused without Retry-After", name)
		}
	}
	b.ask("PATCH", "/v1/hosts/works", b.operator(), `{"resolve_duplicate":true}`).is(503, "unavailable")
	hello := *m
	hello.session = 0
	hello.post(&wire.Hello{AgentVersion: "test", BootID: "b", Generation: "g-host", Nonce: "n-host", After: m.after}).is(503, "unavailable")
	store.full.Store(false)
	if x := read[api.Execution](b.ask("GET", "/v1/jobs/"+job.ID+"/executions/host", b.operator(), nil).is(200, "")); x.State == "accepted" {
		t.Errorf("%s after events that were refused", x.State)
	}
	for name, request := range requests {
		if a := request(); a.status >= 300 {
			t.Errorf("%s afterwards: %d %s", name, a.status, a.body)
		}
	}
}
