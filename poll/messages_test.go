package poll

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

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
