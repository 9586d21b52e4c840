package queuetest

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/rexgate/rexgate/queue"
)

// lease compares what is delivered: first what was held, then cancels in any
// order, then new work. A flagged lease and the cancel of what has ended may
// come or not.
func (w *walk) lease(r *rapid.T) {
	h := w.someHost(r)
	if h.session == 0 {
		r.Skip("no session")
	}
	if rapid.Bool().Draw(r, "arrived") {
		h.settled = h.n
	}
	after := h.settled
	for x, n := range h.cancels {
		if n > 0 && n <= after {
			delete(h.cancels, x)
		}
	}
	f, err := w.s.Lease(w.ctx, queue.Fetch{Host: h.id, Session: h.session, Gateway: w.gateway, After: after, Max: 100, TTL: modelTTL})
	w.ok(err, "Lease")
	now := w.now()
	moot := func(d queue.Delivery) bool {
		x := h.find(d.Execution.ID())
		return x == nil || d.Cancel && x.State.Terminal() || !d.Cancel && x.State == queue.Leased && !x.CancelledAt.IsZero()
	}
	text := func(d queue.Delivery) string { return fmt.Sprint(d.N, d.Cancel, d.Token, d.Execution.ID()) }
	var held, heldWant, cancels, cancelsWant, work, workWant []string
	for _, d := range h.held(after) {
		if !moot(d) {
			heldWant = append(heldWant, text(d))
		}
	}
	for x, n := range h.cancels {
		if n == 0 && !x.State.Terminal() {
			cancelsWant = append(cancelsWant, string(x.ID()))
		}
	}
	next := h.next(now)
	for _, x := range next {
		workWant = append(workWant, string(x.ID()))
	}
	for _, d := range f.Deliveries {
		x := h.find(d.Execution.ID())
		switch {
		case moot(d):
		case d.N <= h.n:
			held = append(held, text(d))
		case d.Cancel:
			cancels = append(cancels, string(x.ID()))
			h.cancels[x] = d.N
		default:
			work = append(work, string(x.ID()))
			if slices.Contains(next, x) {
				x.Held.Lease(d.Token, now)
				x.n, x.deadline = d.N, w.clock.At(now)+modelTTL
				h.known = append(h.known, d)
			}
		}
	}
	slices.Sort(cancels)
	slices.Sort(cancelsWant)
	same(w.env, "held", held, heldWant)
	same(w.env, "cancels", cancels, cancelsWant)
	same(w.env, "new work", work, workWant)
	same(w.env, "InHand", f.InHand, h.inFlight())
	if h.n = f.N; f.More {
		w.Error("More, though Max was larger than all there is")
	}
}

// paint changes a host's label.
func (w *walk) paint(r *rapid.T) {
	h := w.someHost(r)
	h.color = pick(r, "color", []string{"red", "red", "blue"})
	w.label(h.id, "color", h.color)
}

// live says that the gateway lives.
func (w *walk) live(*rapid.T) {
	w.env.alive(w.gateway, modelAlive)
	w.model.alive = w.clock.At(w.now()) + modelAlive
}

func (w *walk) purge(r *rapid.T) {
	if rapid.IntRange(0, 2).Draw(r, "really") != 0 {
		r.Skip("seldom")
	}
	h, running := w.someHost(r), rapid.Bool().Draw(r, "running")
	var want queue.Cancellation
	now := w.now()
	for _, x := range h.execs {
		if x.State == queue.Planned || x.State.Terminal() || !running && (x.State == queue.Accepted || x.State == queue.Running) {
			continue
		}
		flagged := !x.CancelledAt.IsZero()
		switch h.cancel(x, now); {
		case x.State == queue.Cancelled:
			want.Cancelled++
		case !flagged:
			want.Asked++
		}
	}
	same(w.env, "Purge", w.env.purge(h.id, running), want)
}

// accept reports what is leased, so that runs get beyond it.
func (w *walk) accept(r *rapid.T) {
	var leased []queue.Delivery
	for _, id := range w.ids {
		for _, d := range w.hosts[id].known {
			if x := w.hosts[id].find(d.Execution.ID()); x.State == queue.Leased && x.Token == d.Token {
				leased = append(leased, d)
			}
		}
	}
	if len(leased) == 0 {
		r.Skip("nothing is leased")
	}
	d := pick(r, "delivery", leased)
	w.report(w.hosts[d.Execution.Host], "gen-1", w.event(d, 1, queue.EventAccepted))
}

// record reports some events on anything ever delivered, near what is stored.
func (w *walk) record(r *rapid.T) {
	h := w.someHost(r)
	if len(h.known) == 0 {
		r.Skip("nothing was delivered")
	}
	d := pick(r, "delivery", h.known)
	seq := max(1, h.find(d.Execution.ID()).Stored+rapid.Int64Range(-1, 2).Draw(r, "seq"))
	var events []queue.Event
	for range rapid.IntRange(1, 3).Draw(r, "events") {
		kinds := []queue.EventKind{queue.EventOutput, queue.EventStarted, queue.EventGap, queue.EventOutput, queue.EventFinished}
		switch seq {
		case 1:
			kinds = []queue.EventKind{queue.EventAccepted, queue.EventAccepted, queue.EventRejected}
		case 2:
			kinds = append(kinds, queue.EventRejected)
		}
		v := w.event(d, seq, pick(r, "kind", kinds))
		if v.Kind == queue.EventFinished {
			v.Outcome = pick(r, "outcome", []queue.State{queue.Succeeded, queue.Failed, queue.TimedOut, queue.Cancelled, queue.Lost})
		}
		events = append(events, v)
		seq = max(seq, v.Through) + 1
	}
	w.report(h, pick(r, "generation", []string{"gen-1", "gen-1", "gen-1", "gen-2"}), events...)
}

func (w *walk) event(d queue.Delivery, seq int64, kind queue.EventKind) queue.Event {
	v := queue.Event{Execution: d.Execution.ID(), Seq: seq, Kind: kind, At: hostTime()}
	switch kind {
	case queue.EventAccepted:
		h := w.hosts[d.Execution.Host]
		h.position++
		v.Token, v.Position = d.Token, h.position
	case queue.EventRejected:
		v.Token = d.Token
	case queue.EventOutput:
		v.Stream, v.Data = queue.Stdout, fmt.Appendf(nil, "%d;", seq)
	case queue.EventGap:
		v.Through, v.Bytes = seq+2, 10
	}
	return v
}

func (w *walk) report(h *modelHost, generation string, events ...queue.Event) {
	x := h.find(events[0].Execution)
	acks, err := w.s.Record(w.ctx, queue.HostEvents{Host: h.id, Incarnation: h.incarnation, Generation: generation, Events: events})
	w.ok(err, "Record")
	now := w.now()
	from := x.State
	want, _ := x.Held.Record(events, generation, now)
	w.changed(x, from, now)
	same(w.env, "acks of "+eventText(events), acks, []queue.Ack{want})
}
