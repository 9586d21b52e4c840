package queue

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var testNow = time.UnixMilli(1_700_000_000_000)

func held(state State, stored int64) Held {
	h := Held{Execution: Execution{Job: NewJobID(testNow), Host: "h", State: state, Stored: stored, DeliverUntil: testNow.Add(time.Hour)}, Token: "t"}
	if stored > 0 {
		h.Generation, h.Position = "g", 7
	}
	return h
}

func TestHeldRecord(t *testing.T) {
	accepted := Event{Seq: 1, Kind: EventAccepted, Token: "t", Position: 7}
	stale := Event{Seq: 1, Kind: EventAccepted, Token: "old"}
	rejected := Event{Seq: 1, Kind: EventRejected, Token: "t", Reason: "no such user"}
	started := func(n int64) Event { return Event{Seq: n, Kind: EventStarted} }
	output := func(n int64) Event { return Event{Seq: n, Kind: EventOutput, Stream: Stdout, Data: []byte("abc")} }
	finished := func(n int64, s State) Event { return Event{Seq: n, Kind: EventFinished, Outcome: s} }
	asked := func(h Held) Held { h.Cancel("ann", testNow); return h }
	for name, c := range map[string]struct {
		h       Held
		gen     string
		events  []Event
		state   State
		stored  int64
		verdict Verdict
		reason  string
	}{
		"accepted":              {held(Leased, 0), "g", []Event{accepted}, Accepted, 1, VerdictGo, ""},
		"accepted again":        {held(Accepted, 1), "g", []Event{accepted}, Accepted, 1, VerdictGo, ""},
		"again, older token":    {held(Accepted, 1), "g", []Event{stale}, Accepted, 1, VerdictNone, ""},
		"again after cancel":    {asked(held(Running, 2)), "g", []Event{accepted}, Running, 2, VerdictCancel, ""},
		"other generation":      {held(Running, 2), "x", []Event{started(3)}, Running, 2, VerdictForget, ReasonOtherGeneration},
		"stale token":           {held(Leased, 0), "g", []Event{stale, started(2)}, Leased, 0, VerdictForget, ReasonStaleToken},
		"not leased":            {held(Queued, 0), "g", []Event{accepted}, Queued, 0, VerdictForget, ReasonStaleToken},
		"flagged":               {asked(held(Leased, 0)), "g", []Event{accepted}, Cancelled, 0, VerdictForget, ReasonCancelled},
		"rejected":              {held(Leased, 0), "g", []Event{rejected}, Rejected, 1, VerdictNone, ""},
		"rejected though asked": {asked(held(Leased, 0)), "g", []Event{rejected}, Rejected, 1, VerdictNone, ""},
		"beyond":                {held(Leased, 0), "g", []Event{started(2)}, Leased, 0, VerdictNone, ""},
		"all at once":           {held(Leased, 0), "g", []Event{accepted, started(2), output(3), finished(4, Succeeded)}, Succeeded, 4, VerdictNone, ""},
		"output implies start":  {held(Accepted, 1), "g", []Event{output(2)}, Running, 2, VerdictNone, ""},
		"gap":                   {held(Accepted, 1), "g", []Event{{Seq: 2, Kind: EventGap, Through: 9, Bytes: 5}, output(10)}, Running, 10, VerdictNone, ""},
		"hole":                  {held(Running, 2), "g", []Event{output(3), output(5)}, Running, 3, VerdictNone, ""},
		"after the end":         {held(Succeeded, 4), "g", []Event{output(5)}, Succeeded, 4, VerdictForget, ReasonEnded},
		"late":                  {held(Lost, 2), "g", []Event{output(3), finished(4, Failed)}, Lost, 4, VerdictNone, ""},
		"accepted after lost":   {held(Lost, 1), "g", []Event{accepted}, Lost, 1, VerdictForget, ReasonEnded},
		"late from the start":   {held(Lost, 1), "g", []Event{accepted, started(2)}, Lost, 2, VerdictNone, ""},
	} {
		for i := range 2 {
			h := c.h
			var ack Ack
			for range i + 1 {
				ack, _ = h.Record(c.events, c.gen, testNow)
			}
			if h.State != c.state || h.Stored != c.stored || ack.Stored != c.stored || ack.Verdict != c.verdict || ack.Reason != c.reason {
				t.Errorf("%s, applied %d times: %v, stored %d, ack %+v", name, i+1, h.State, h.Stored, ack)
			}
		}
	}
}

func TestHeldReasonIsCut(t *testing.T) {
	h := held(Leased, 0)
	h.Record([]Event{{Seq: 1, Kind: EventRejected, Token: "t", Reason: strings.Repeat("ä", MaxReason)}}, "g", testNow)
	if h.Result.Reason != strings.Repeat("ä", MaxReason/2) {
		t.Errorf("%d bytes are left of the reason", len(h.Result.Reason))
	}
}

func TestHeldHello(t *testing.T) {
	c := Claim{Generation: "g", Position: 7}
	asked := held(Running, 3)
	asked.Cancel("ann", testNow)
	beyond := held(Accepted, 1)
	beyond.Position = 8
	for name, k := range map[string]struct {
		h       Held
		in      *InHand
		gen     string
		state   State
		tell    bool
		verdict Verdict
		reason  string
	}{
		"leased, gone":              {held(Leased, 0), nil, "g", Queued, false, "", ""},
		"leased, in hand":           {held(Leased, 0), &InHand{Token: "t", Seq: 1}, "g", Leased, true, VerdictNone, ""},
		"leased, another token":     {held(Leased, 0), &InHand{Token: "old", Seq: 1}, "g", Queued, true, VerdictForget, ReasonStaleToken},
		"accepted, gone":            {held(Accepted, 1), nil, "g", Lost, false, "", ""},
		"accepted after the hello":  {beyond, nil, "g", Accepted, false, "", ""},
		"accepted, in hand":         {held(Accepted, 1), &InHand{Token: "t", Seq: 1}, "g", Accepted, true, VerdictGo, ""},
		"another generation":        {beyond, nil, "x", Lost, false, "", ""},
		"another's, in hand":        {held(Running, 3), &InHand{Seq: 3}, "x", Running, true, VerdictForget, ReasonOtherGeneration},
		"cancel asked, in hand":     {asked, &InHand{Seq: 5}, "g", Running, true, VerdictCancel, ""},
		"ended, all stored":         {held(Succeeded, 4), &InHand{Seq: 4}, "g", Succeeded, true, VerdictNone, ""},
		"ended, more in hand":       {held(Succeeded, 4), &InHand{Seq: 5}, "g", Succeeded, true, VerdictForget, ReasonEnded},
		"cancelled, never accepted": {held(Cancelled, 0), &InHand{Seq: 1}, "g", Cancelled, true, VerdictForget, ReasonCancelled},
		"lost, not started":         {held(Lost, 1), &InHand{Seq: 1}, "g", Lost, true, VerdictForget, ReasonEnded},
		"lost, it went on":          {held(Lost, 1), &InHand{Seq: 9}, "g", Lost, true, VerdictNone, ""},
	} {
		c.Generation = k.gen
		ack, tell := k.h.Hello(&c, k.in, testNow)
		if k.h.State != k.state || tell != k.tell || tell && (ack.Verdict != k.verdict || ack.Reason != k.reason) {
			t.Errorf("%s: %v, told %v, ack %+v", name, k.h.State, tell, ack)
		}
	}
}

// TestHeldArrows walks at random, and holds every step to the state table.
func TestHeldArrows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	spec, job := Spec{}.WithDefaults(), NewJobID(testNow)
	seen := map[[2]State]bool{}
	for range 20_000 {
		h := Held{Execution: Execution{Job: job, Host: "h", State: Planned}}
		now := testNow
		for range 20 {
			from := h.State
			now = now.Add(time.Duration(r.IntN(int(spec.PickupTimeout / 6))))
			outcome := []State{Succeeded, Failed, TimedOut, Cancelled, Lost}[r.IntN(5)]
			steps := []func(){
				func() { h.Release(spec, now) },
				func() { h.Lease("t", now) },
				func() { h.EndLease(now) },
				func() { h.Expire(now) },
				func() { h.Record([]Event{{Seq: 1, Kind: EventAccepted, Token: "t"}}, "g", now) },
				func() { h.Record([]Event{{Seq: h.Stored + 1, Kind: EventRejected, Token: "t"}}, "g", now) },
				func() { h.Record([]Event{{Seq: max(2, h.Stored+1), Kind: EventStarted}}, "g", now) },
				func() { h.Record([]Event{{Seq: max(2, h.Stored+1), Kind: EventFinished, Outcome: outcome}}, "g", now) },
				func() { h.Cancel("ann", now) },
				func() { h.Lose(WhySilent, now) },
				func() { h.Void(now) },
			}
			if i := r.IntN(len(steps)); i != 5 || h.Stored < 2 { // rejected is event 1 or 2
				steps[i]()
			}
			if h.State == from {
				continue
			}
			if !CanMove(from, h.State) {
				t.Fatalf("%v -> %v isn't in the table", from, h.State)
			}
			seen[[2]State{from, h.State}] = true
		}
	}
	for _, from := range States() {
		for _, to := range States() {
			if CanMove(from, to) && !seen[[2]State{from, to}] && !(from == Planned && to == Expired) {
				t.Errorf("%v -> %v was never taken", from, to)
			}
		}
	}
}
