package poll

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
