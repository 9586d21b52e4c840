package session

import (
	"testing"
	"testing/synctest"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// TestAcceptedUnderTwoTokens has a lease that lapsed while its acceptance waited for the store: the
// job was delivered anew, and accepted anew. The store hears of the new one, and the host hears which was meant.
func TestAcceptedUnderTwoTokens(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, m *memory, h *Hub) {
		p := begun(t, h, "a")
		away := make(chan struct{})
		var got []queue.HostEvents
		m.onRecord = func(e queue.HostEvents) error {
			if len(got) == 0 {
				<-away // a turn is with the store, the others gather
			}
			got = append(got, e)
			return nil
		}
		accepted := func(token string) *wire.Accepted {
			return &wire.Accepted{Execution: exec("a"), Seq: 1, Token: token}
		}
		p.send(t, output("a", 2, 1))
		synctest.Wait()
		p.send(t, accepted("first"))
		p.send(t, accepted("second"))
		synctest.Wait()
		close(away)
		synctest.Wait()
		if len(got) != 2 || len(got[1].Events) != 1 || got[1].Events[0].Token != "second" {
			t.Errorf("the store got %+v", got)
		}
		if free := h.Stats(); free.Parked != 0 {
			t.Errorf("%+v", free)
		}
	})
}

func TestAckNamesTheAcceptance(t *testing.T) {
	x := queue.NewExecutionID(testJob, "a")
	events := appendEvent(nil, &wire.Accepted{Execution: string(x), Seq: 1, Token: "old"})
	events = appendEvent(events, &wire.Accepted{Execution: exec("b"), Seq: 1, Token: "other"})
	events = appendEvent(events, &wire.Accepted{Execution: string(x), Seq: 1, Token: "new"})
	if len(events) != 2 || events[1].Token != "new" {
		t.Errorf("events %+v", events)
	}
	for _, c := range []struct {
		verdict queue.Verdict
		token   string
	}{{queue.VerdictGo, "new"}, {queue.VerdictForget, "new"}, {queue.VerdictNone, ""}} {
		acks := appendAcks(nil, []queue.Ack{{Execution: x, Stored: 1, Verdict: c.verdict}}, events)
		if a := acks[0].(*wire.Ack); a.Token != c.token || a.Verdict != wire.Verdict(c.verdict) {
			t.Errorf("%q: ack %+v", c.verdict, a)
		}
	}
}
