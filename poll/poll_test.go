package poll

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestHeldUntilWorkComes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		begin := time.Now()
		time.AfterFunc(20*time.Second, func() { r.store.give("a") })
		rec := r.poll("a", sid, 0, "50s")
		if d := time.Since(begin); d != 20*time.Second {
			t.Errorf("answered after %v", d)
		}
		if back := r.answers(rec, 200); back != 1 {
			t.Errorf("back in %d s", back)
		}
		// The answer was lost; the same comes at once.
		for range 3 {
			again := r.poll("a", sid, 0, "50s")
			if again.Body.String() != rec.Body.String() && !slices.Equal(numbers(t, again), []int64{1}) {
				t.Errorf("repeated: %s", again.Body)
			}
		}
		if time.Since(begin) != 20*time.Second {
			t.Error("the repeated poll was held")
		}
		r.answers(r.poll("a", sid, 1, "0s"), 204)
	})
}

func TestHeldIsBounded(t *testing.T) {
	bubble(t, Config{Held: 2}, func(t *testing.T, r *rig) {
		var wg sync.WaitGroup
		for _, h := range []queue.HostID{"a", "b"} {
			sid := r.hello(h)
			wg.Go(func() {
				begin := time.Now()
				back := r.answers(r.poll(h, sid, 0, "10h"), 204)
				if d := time.Since(begin); d < 45*time.Second || d > 50*time.Second {
					t.Errorf("held for %v", d)
				}
				if back != 1 {
					t.Errorf("after the hold, back in %d s", back)
				}
			})
		}
		synctest.Wait()
		if n := r.Stats().Held; n != 2 {
			t.Errorf("%d held", n)
		}
		sid := r.hello("c")
		begin := time.Now()
		back := r.answers(r.poll("c", sid, 0, "50s"), 204)
		if time.Since(begin) != 0 || back != 16 { // 15 s, and two slots of half a millisecond
			t.Errorf("without room: after %v, back in %d s", time.Since(begin), back)
		}
		// Early again: the remainder.
		time.Sleep(5 * time.Second)
		if back := r.answers(r.poll("c", sid, 0, "50s"), 204); back != 11 {
			t.Errorf("5 s later: back in %d s", back)
		}
		// With work in hand, it comes sooner.
		r.store.mu.Lock()
		r.store.busy = 1
		r.store.mu.Unlock()
		sid = r.hello("d")
		if back := r.answers(r.poll("d", sid, 0, "50s"), 204); back != 10 {
			t.Errorf("with work in hand: back in %d s", back)
		}
		wg.Wait()
		for _, due := range r.store.dues {
			if due < 30*time.Second || due > 2*time.Minute {
				t.Errorf("overdue after %v", due)
			}
		}
	})
}

func TestCutPollFreesItsPlace(t *testing.T) {
	bubble(t, Config{Held: 1}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r.serve(ctx, "GET", fmt.Sprintf("%s?session=%d&wait=50s", wire.PathPoll, sid), "", "a")
		if st := r.Stats(); st.Held != 0 || st.Cut != 1 || r.hub.Stats().Polls != 0 {
			t.Errorf("after the cut: %+v", st)
		}
	})
}

func TestNewerPollReplacesOlder(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		first := make(chan *httptest.ResponseRecorder, 1)
		go func() { first <- r.poll("a", sid, 0, "50s") }()
		synctest.Wait()
		go func() {
			time.Sleep(time.Second)
			r.store.give("a")
		}()
		begin := time.Now()
		rec := r.poll("a", sid, 0, "50s")
		r.answers(<-first, 204)
		r.answers(rec, 200)
		if time.Since(begin) != time.Second {
			t.Errorf("answered after %v", time.Since(begin))
		}
	})
}

func TestManyInOneAnswer(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.store.script = strings.Repeat("y", wire.InlineScript)
		sid := r.hello("a")
		for range 40 {
			r.store.give("a")
		}
		var got []int64
		for len(got) < 40 {
			after := int64(0)
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			rec := r.poll("a", sid, after, "50s")
			back := r.answers(rec, 200)
			if rec.Body.Len() > wire.MaxFrame {
				t.Errorf("answer of %d bytes", rec.Body.Len())
			}
			got = append(got, numbers(t, rec)...)
			if more := len(got) < 40; more != (back == 0) {
				t.Errorf("after %d of 40, back in %d s", len(got), back)
			}
		}
		if !slices.IsSorted(got) || len(got) != 40 {
			t.Errorf("got %v", got)
		}
	})
}

// TestReturnsAreBounded has more hosts that just got work than may come back
// soon.
func TestReturnsAreBounded(t *testing.T) {
	bubble(t, Config{Rate: 40}, func(t *testing.T, r *rig) {
		soon, later := 0, 0
		for i := range 100 {
			h := queue.HostID(fmt.Sprint("h", i))
			rec := r.post(h, "", &wire.Hello{Generation: "g", Nonce: "n"})
			switch back := r.answers(rec, 200); back {
			case 1:
				soon++
			case 10:
				later++
			default:
				t.Errorf("back in %d s", back)
			}
		}
		if soon != 10 || later != 90 {
			t.Errorf("%d come back soon, %d later", soon, later)
		}
	})
}

func TestBeyondMaxInterval(t *testing.T) {
	bubble(t, Config{Rate: 1, MaxInterval: time.Minute, Held: 1}, func(t *testing.T, r *rig) {
		if st := r.Stats(); st.Beyond || st.LastDue != 0 {
			t.Errorf("%+v", st)
		}
		for i := range 100 {
			r.hello(queue.HostID(fmt.Sprint("h", i)))
		}
		if st := r.Stats(); !st.Beyond || st.LastDue != 114*time.Second || st.Scheduled != 100 {
			t.Errorf("%+v", st)
		}
	})
}

func TestProblems(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		q := fmt.Sprintf("?session=%d", sid)
		x := string(queue.NewExecutionID(testJob, "a"))
		started := &wire.Started{Execution: x, Seq: 2}
		for _, query := range []string{"", "?session=x", "?session=-1", q + "&after=x", q + "&after=-1", q + "&wait=50", q + "&wait=-1s"} {
			r.problemOf(r.serve(t.Context(), "GET", wire.PathPoll+query, "", "a"), 400, "invalid")
		}
		r.problemOf(r.poll("a", sid+1, 0, "50s"), 409, "superseded")
		r.problemOf(r.poll("stranger", 1, 0, "50s"), 409, "superseded")

		r.problemOf(r.serve(t.Context(), "POST", wire.PathMessages+q, "<html>", "a"), 400, "invalid")
		r.problemOf(r.serve(t.Context(), "POST", wire.PathMessages+q, strings.Repeat(" ", wire.MaxFrame+1), "a"), 413, "too_large")
		r.problemOf(r.post("a", "", &wire.Hello{Generation: "g", Nonce: "n", Standby: true}), 400, "invalid")
		r.problemOf(r.post("a", q, &wire.Take{Hello: wire.Hello{Generation: "g", Nonce: "n"}}), 400, "invalid")
		r.problemOf(r.post("a", q, &wire.Drain{}), 400, "invalid")
		r.problemOf(r.post("a", "", started), 400, "invalid")
		r.problemOf(r.post("b", q, started), 403, "forbidden")
		if rec := r.serve(t.Context(), "POST", wire.PathMessages+q, `{"type":"later"}`, "a"); rec.Code != 204 {
			t.Errorf("an unknown message: %d", rec.Code)
		}

		r.problemOf(r.serve(t.Context(), "GET", wire.PathScript+x, "", "a"), 404, "not_found") // queued
		r.problemOf(r.serve(t.Context(), "GET", wire.PathScript+x, "", "b"), 404, "not_found")
		r.problemOf(r.serve(t.Context(), "GET", wire.PathScript+"x", "", "b"), 400, "invalid")

		for _, c := range []struct {
			err    error
			status int
			code   string
			back   int
		}{
			{queue.Errorf(queue.Duplicate, "two"), 409, "duplicate", 60},
			{queue.Errorf(queue.Forbidden, "revoked"), 403, "forbidden", 1},
			{&queue.Error{Code: queue.Unavailable, Message: "away", Retry: 42 * time.Second}, 503, "unavailable", 42},
			{context.DeadlineExceeded, 503, "unavailable", 1},
		} {
			r.store.fail(c.err)
			for _, rec := range []*httptest.ResponseRecorder{
				r.poll("a", sid, 0, "50s"), r.post("a", q, started), r.post("a", "", &wire.Hello{Generation: "g", Nonce: "n"}),
			} {
				if back := r.problemOf(rec, c.status, c.code); back < c.back {
					t.Errorf("%s: back in %d s", c.code, back)
				}
			}
		}
		r.store.fail(queue.Errorf(queue.NotFound, "no such host"))
		r.problemOf(r.post("a", "", &wire.Hello{Generation: "g", Nonce: "n"}), 403, "forbidden")
	})
}

func TestOnePostAtATime(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		r.hello("b")
		q := fmt.Sprintf("?session=%d", sid)
		r.store.block = make(chan struct{})
		first := make(chan *httptest.ResponseRecorder)
		go func() {
			first <- r.post("a", q, &wire.Finished{Execution: string(queue.NewExecutionID(testJob, "a")), Seq: 2, Outcome: wire.Succeeded})
		}()
		synctest.Wait()
		r.problemOf(r.post("a", q, &wire.Started{Execution: string(queue.NewExecutionID(testJob, "a")), Seq: 2}), 429, "busy")
		go func() {
			first <- r.post("b", q, &wire.Started{Execution: string(queue.NewExecutionID(testJob, "b")), Seq: 2})
		}()
		synctest.Wait() // another host's is served meanwhile
		close(r.store.block)
		for range 2 {
			if rec := <-first; rec.Code != 200 {
				t.Errorf("status %d", rec.Code)
			} else if strings.Contains(rec.Body.String(), ".a") && r.answers(rec, 200) != 1 {
				t.Error("after the end of an execution, a host isn't called back soon")
			}
		}
	})
}

// answering is a ResponseWriter that does something while the answer is written.
type answering struct {
	*httptest.ResponseRecorder
	while func()
}

func (w *answering) Write(b []byte) (int, error) {
	w.while()
	return w.ResponseRecorder.Write(b)
}

// TestPostsOneAfterAnother has a host that posts again as soon as it has read an answer.
func TestPostsOneAfterAnother(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		q := fmt.Sprintf("?session=%d", r.hello("a"))
		events := func(seq int64) *http.Request {
			frame, err := wire.Encode(&wire.Started{Execution: string(queue.NewExecutionID(testJob, "a")), Seq: seq})
			if err != nil {
				t.Fatal(err)
			}
			return httptest.NewRequestWithContext(t.Context(), "POST", wire.PathMessages+q, bytes.NewReader(frame))
		}
		peer := session.Peer{Host: "a", Incarnation: 1}
		posted := 0
		w := &answering{httptest.NewRecorder(), func() {
			again := httptest.NewRecorder()
			r.ServeMessages(again, events(3), peer)
			if posted++; again.Code != 200 {
				t.Errorf("the next is answered with %d: %s", again.Code, again.Body)
			}
		}}
		r.ServeMessages(w, events(2), peer)
		if w.Code != 200 || posted != 1 {
			t.Errorf("status %d, %d posts meanwhile", w.Code, posted)
		}
	})
}

func TestDrain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		sid := r.hello("a")
		held := make(chan *httptest.ResponseRecorder)
		go func() { held <- r.poll("a", sid, 0, "50s") }()
		synctest.Wait()
		begin := time.Now()
		r.hub.Drain(t.Context(), 20*time.Second)
		for _, rec := range []*httptest.ResponseRecorder{<-held, r.poll("a", sid, 0, "50s"), r.post("a", "", &wire.Hello{Generation: "g", Nonce: "n"})} {
			if back := r.problemOf(rec, 503, "draining"); back < 1 || back > 22 {
				t.Errorf("back in %d s", back)
			}
		}
		if time.Since(begin) != 0 {
			t.Errorf("took %v", time.Since(begin))
		}
		// What a host has to tell is still taken.
		rec := r.post("a", fmt.Sprintf("?session=%d", sid), &wire.Started{Execution: string(queue.NewExecutionID(testJob, "a")), Seq: 2})
		if rec.Code != http.StatusOK {
			t.Errorf("events: %d", rec.Code)
		}
	})
}

// TestWelcomeOfAFullHost has as much in hand as a host may: all of it is answered, in one frame.
func TestWelcomeOfAFullHost(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		host := queue.HostID(strings.Repeat("h", 128))
		hello := &wire.Hello{Generation: "g", Nonce: "n"}
		for i := range wire.MaxInHand {
			id := queue.NewExecutionID(testJob[:22]+queue.JobID(fmt.Sprintf("%04d", i)), host)
			hello.Executions = append(hello.Executions, wire.InHand{Execution: string(id), Token: "t", Seq: 1})
			r.store.verdicts = append(r.store.verdicts, queue.Ack{
				Execution: id, Stored: wire.MaxNumber, Verdict: queue.VerdictForget, Reason: queue.ReasonOtherGeneration,
			})
		}
		rec := r.post(host, "", hello)
		r.answers(rec, 200)
		msgs, err := wire.Decode(rec.Body.Bytes())
		if err != nil || len(msgs) != 1 || len(msgs[0].(*wire.Welcome).Executions) != wire.MaxInHand {
			t.Errorf("%d messages, %v: %.200s", len(msgs), err, rec.Body)
		}
	})
}
