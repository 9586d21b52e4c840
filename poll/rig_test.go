package poll

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

const testJob queue.JobID = "01234567890123456789abcdef"

// memory is a store of what the tests put in.
type memory struct {
	session.Store // what isn't below is never called

	mu      sync.Mutex // guards the following
	err     error      // of every call
	epochs  map[queue.HostID]int64
	waiting map[queue.HostID][]queue.Delivery
	script  string
	busy    int
	dues    []time.Duration
	leases  int
	hint    func(queue.Hint)
	block   chan struct{} // Record waits for it, if not nil

	verdicts []queue.Ack // of Claim
}

func (m *memory) Claim(_ context.Context, c queue.Claim) (queue.Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epochs[c.Host]++
	m.dues = append(m.dues, c.Due)
	return queue.Claimed{Session: m.epochs[c.Host], Now: time.Now(), Verdicts: m.verdicts}, m.err
}

func (m *memory) Lease(_ context.Context, f queue.Fetch) (queue.Fetched, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leases++
	m.dues = append(m.dues, f.Due)
	if m.err != nil {
		return queue.Fetched{}, m.err
	}
	if f.Session != m.epochs[f.Host] {
		return queue.Fetched{}, queue.Errorf(queue.Superseded, "session %d is over", f.Session)
	}
	out := queue.Fetched{Now: time.Now(), InHand: m.busy}
	for _, d := range m.waiting[f.Host] {
		if d.N > f.After {
			if out.More = len(out.Deliveries) == f.Max; out.More {
				break
			}
			out.Deliveries = append(out.Deliveries, d)
		}
	}
	return out, nil
}

func (m *memory) Record(_ context.Context, h queue.HostEvents) ([]queue.Ack, error) {
	m.mu.Lock()
	block, err := m.block, m.err
	m.mu.Unlock()
	if block != nil {
		<-block
	}
	last := h.Events[len(h.Events)-1]
	return []queue.Ack{{Execution: last.Execution, Stored: last.Seq}}, err
}

func (m *memory) Subscribe(ctx context.Context, _ string, fn func(queue.Hint)) error {
	m.mu.Lock()
	m.hint = fn
	m.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

func (m *memory) Ready(context.Context, string, int) ([]queue.HostID, error) { return nil, nil }

func (m *memory) Alive(context.Context, string, time.Duration) error { return nil }

func (m *memory) Job(context.Context, queue.JobID) (queue.JobStatus, error) {
	return queue.JobStatus{Job: queue.Job{ScriptSize: int64(len(m.script)), Spec: queue.Spec{}.WithDefaults()}}, nil
}

func (m *memory) Script(context.Context, queue.JobID) ([]byte, error) { return []byte(m.script), nil }

func (m *memory) Execution(_ context.Context, job queue.JobID, host queue.HostID) (queue.Execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return queue.Execution{Job: job, Host: host, State: queue.Queued, Incarnation: 1}, m.err
}

func (m *memory) give(h queue.HostID) {
	m.mu.Lock()
	n := int64(len(m.waiting[h]) + 1)
	m.waiting[h] = append(m.waiting[h], queue.Delivery{N: n, Token: "t", Execution: queue.Execution{Job: testJob, Host: h}})
	hint := m.hint
	m.mu.Unlock()
	hint(queue.Hint{Hosts: []queue.HostID{h}})
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// rig is a server on a running hub.
type rig struct {
	*Server
	t     *testing.T
	store *memory
	hub   *session.Hub
}

func bubble(t *testing.T, cfg Config, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{epochs: map[queue.HostID]int64{}, waiting: map[queue.HostID][]queue.Delivery{}, script: "x"}
		hub := session.NewHub(m, session.Config{Gateway: "gw"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- hub.Run(ctx) }()
		synctest.Wait()
		r := &rig{NewServer(hub, cfg), t, m, hub}
		test(t, r)
		cancel()
		<-done
		if n := r.Stats().Held; n != 0 {
			t.Errorf("%d polls held at the end", n)
		}
	})
}

func (r *rig) serve(ctx context.Context, method, url, body string, h queue.HostID) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	peer := session.Peer{Host: h, Incarnation: 1}
	switch {
	case strings.HasPrefix(url, wire.PathPoll):
		r.ServePoll(rec, req, peer)
	case strings.HasPrefix(url, wire.PathScript):
		r.ServeScript(rec, req, peer)
	default:
		r.ServeMessages(rec, req, peer)
	}
	return rec
}

func (r *rig) poll(h queue.HostID, sid, after int64, wait string) *httptest.ResponseRecorder {
	return r.serve(r.t.Context(), "GET", fmt.Sprintf("%s?session=%d&after=%d&wait=%s", wire.PathPoll, sid, after, wait), "", h)
}

func (r *rig) post(h queue.HostID, query string, msgs ...wire.Message) *httptest.ResponseRecorder {
	frame, err := wire.Encode(msgs...)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.serve(r.t.Context(), "POST", wire.PathMessages+query, string(frame), h)
}

// hello begins a session.
func (r *rig) hello(h queue.HostID) int64 {
	r.t.Helper()
	rec := r.post(h, "", &wire.Hello{Generation: "g", Nonce: "n"})
	msgs, err := wire.Decode(rec.Body.Bytes())
	if rec.Code != 200 || err != nil {
		r.t.Fatal(rec.Code, err, rec.Body)
	}
	return msgs[0].(*wire.Welcome).Session
}

// answers checks an answer, and gives its Retry-After in seconds.
func (r *rig) answers(rec *httptest.ResponseRecorder, status int) int {
	r.t.Helper()
	if rec.Code != status || rec.Header().Get("Cache-Control") != "no-store" {
		r.t.Fatalf("status %d, %v, want %d: %.200s", rec.Code, rec.Header(), status, rec.Body)
	}
	n, err := strconv.Atoi(rec.Header().Get("Retry-After"))
	if err != nil || n < 0 {
		r.t.Fatalf("status %d with Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	return n
}

// problem checks a problem document, and gives its Retry-After.
func (r *rig) problemOf(rec *httptest.ResponseRecorder, status int, code string) int {
	r.t.Helper()
	var p map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p["code"] != code || p["status"] != float64(status) || p["detail"] == "" ||
		rec.Header().Get("Content-Type") != "application/problem+json" {
		r.t.Errorf("got %v, %s; want a problem with code %s", rec.Header(), rec.Body, code)
	}
	before := r.Stats().Problems[code]
	if before == 0 {
		r.t.Errorf("%s isn't counted", code)
	}
	return r.answers(rec, status)
}

func numbers(t *testing.T, rec *httptest.ResponseRecorder) (ns []int64) {
	t.Helper()
	msgs, err := wire.Decode(rec.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range msgs {
		ns = append(ns, m.(*wire.Job).N)
	}
	return ns
}
