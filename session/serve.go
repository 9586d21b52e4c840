package session

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What both transports do with the store. The exported calls are for polls; their
// errors are the store's, a *queue.Error wherever it gave one.

// request gives the context of the store calls of a request.
func (h *Hub) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, h.cfg.StoreTimeout)
}

// Hello begins a session over requests: it claims the host, and gives the
// welcome, or the messages that it consists of. The next request is overdue
// after due. Errors as of queue.Sessions.Claim; Forbidden: the host is revoked.
func (h *Hub) Hello(ctx context.Context, peer Peer, hello *wire.Hello, due time.Duration) ([]wire.Message, error) {
	ctx, cancel := h.request(ctx)
	defer cancel()
	claim := claimOf(peer, hello)
	claim.Transport, claim.Due = queue.TransportPoll, due
	claimed, err := h.claim(ctx, claim)
	if err != nil {
		return nil, err
	}
	h.known.put(peer.Host, claimed.Session, hello.Generation, h.now())
	h.own(peer.Host, nil, claimed.Session)
	return h.welcome(claimed, foreign(peer.Host, hello), wire.MaxFrame/2), nil
}

func (h *Hub) claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	c.Gateway = h.cfg.Gateway
	h.count.claims.Add(1)
	return h.store.Claim(ctx, c)
}

// welcome gives a welcome; what doesn't fit its frame follows in acks. All that a hello may
// name does fit, with the longest ids and reasons: over requests nothing follows.
func (h *Hub) welcome(c queue.Claimed, more []wire.Resume, credit int64) []wire.Message {
	const (
		beside = 74                    // bytes of an execution beside its id and reason, at most
		room   = wire.MaxFrame - 1<<10 // less the welcome's own fields
	)
	w := &wire.Welcome{
		Session: c.Session, N: c.N, Time: c.Now.UnixMilli(), Ping: h.cfg.Ping.Milliseconds(), Dead: h.cfg.Dead.Milliseconds(),
		Credit: credit, MaxFrame: wire.MaxFrame,
	}
	for _, a := range c.Verdicts {
		more = append(more, resumeOf(a))
	}
	n, size := 0, 0
	for n < len(more) && size+beside+len(more[n].Execution)+len(more[n].Reason) <= room {
		size += beside + len(more[n].Execution) + len(more[n].Reason)
		n++
	}
	w.Executions = more[:n]
	out := []wire.Message{w}
	for _, r := range more[n:] {
		out = append(out, &wire.Ack{Execution: r.Execution, Stored: r.Stored, Verdict: r.Verdict, Reason: r.Reason})
	}
	return out
}

// Record stores events that came over a request, and gives the acks. Errors as of
// queue.Sessions.Record; Superseded also where the session isn't the host's any more.
func (h *Hub) Record(ctx context.Context, peer Peer, session int64, events []wire.Event) ([]wire.Message, error) {
	qe := make([]queue.Event, 0, len(events))
	for _, e := range events {
		id, _ := e.Ref()
		if !ownedBy(id, peer.Host) {
			return nil, queue.Errorf(queue.Forbidden, "%s for %s, which is not of this host", e.Type(), id)
		}
		qe = appendEvent(qe, e)
	}
	ctx, cancel := h.request(ctx)
	defer cancel()
	gen, err := h.generation(ctx, peer.Host, session)
	if err != nil {
		return nil, err
	}
	acks, finished, err := h.record(ctx, queue.HostEvents{Host: peer.Host, Incarnation: peer.Incarnation, Generation: gen, Session: session, Events: qe})
	if err != nil {
		return nil, err
	}
	h.known.happened(peer.Host, session, h.now())
	if finished {
		h.hint(peer.Host) // its held poll looks for more
	}
	return appendAcks(nil, acks, qe), nil
}

// generation finds the journal generation of a polling session, from the store where this
// gateway didn't begin it.
func (h *Hub) generation(ctx context.Context, id queue.HostID, session int64) (string, error) {
	if gen, ok := h.known.get(id, session); ok {
		return gen, nil
	}
	host, err := h.store.Host(ctx, id)
	if err != nil {
		return "", err
	}
	if p := host.Presence; p.Session != session || p.Generation == "" {
		return "", queue.Errorf(queue.Superseded, "session %d is not this host's any more; say hello", session)
	}
	h.known.put(id, session, host.Presence.Generation, h.now())
	return host.Presence.Generation, nil
}

func (h *Hub) record(ctx context.Context, e queue.HostEvents) (acks []queue.Ack, finished bool, err error) {
	h.count.records.Add(1)
	acks, err = h.store.Record(ctx, e)
	if err != nil {
		return nil, false, err
	}
	h.count.events.Add(int64(len(e.Events)))
	h.cfg.Recorded(e.Host, acks)
	for _, ev := range e.Events {
		if ev.Kind == queue.EventFinished || ev.Kind == queue.EventRejected {
			finished = true
		}
	}
	return acks, finished, nil
}

// Fetched is what Fetch found for a host.
type Fetched struct {
	Messages []wire.Message // jobs and cancels, by number
	More     bool           // more waits that fits a free slot
	Busy     bool           // the host has work in hand
}

// Fetch gives what the store has for a polling host: the messages that it holds
// beyond after, again, and new ones. It doesn't wait for work. The next request is
// overdue after due. Errors as of queue.Sessions.Lease.
func (h *Hub) Fetch(ctx context.Context, peer Peer, session, after int64, due time.Duration) (Fetched, error) {
	ctx, cancel := h.request(ctx)
	defer cancel()
	msgs, f, err := h.deliver(ctx, queue.Fetch{
		Host: peer.Host, Session: session, Gateway: h.cfg.Gateway, After: after, Max: maxDeliver, TTL: h.cfg.LeaseTTL, Due: due,
	})
	if err != nil {
		return Fetched{}, err
	}
	if len(msgs) > 0 {
		// This gateway may not have begun the session: then the one that records for it learns of it.
		h.known.happened(peer.Host, session, h.now())
	}
	return Fetched{Messages: msgs, More: f.More || len(f.Deliveries) >= maxDeliver, Busy: f.InHand > 0}, nil
}

// deliver leases, and composes the messages.
func (h *Hub) deliver(ctx context.Context, f queue.Fetch) ([]wire.Message, queue.Fetched, error) {
	h.count.leases.Add(1)
	got, err := h.store.Lease(ctx, f)
	if err != nil {
		return nil, got, err
	}
	msgs := make([]wire.Message, 0, len(got.Deliveries))
	for _, d := range got.Deliveries {
		job, err := h.jobs.get(ctx, d.Execution.Job)
		if err == nil && d.Cancel {
			msgs = append(msgs, &wire.Cancel{N: d.N, Execution: string(d.Execution.ID()), Grace: job.Spec.Grace.Milliseconds()})
			h.count.cancels.Add(1)
			continue
		}
		var script []byte
		if err == nil && job.ScriptSize <= wire.InlineScript {
			script, err = h.scripts.get(ctx, d.Execution.Job)
		}
		if queue.CodeOf(err) == queue.NotFound {
			h.cfg.Log.Error("delivery of a job that the store doesn't have", "host", f.Host, "job", d.Execution.Job)
			continue
		}
		if err != nil {
			return nil, got, err
		}
		if !inline(script) {
			script = nil
		}
		msgs = append(msgs, jobMessage(d, job, script, got.Now))
		h.count.jobs.Add(1)
	}
	return msgs, got, nil
}

// Script gives the script of an execution that is in the host's hands. Errors:
// NotFound also if it isn't, or is another host's.
func (h *Hub) Script(ctx context.Context, peer Peer, id queue.ExecutionID) ([]byte, error) {
	job, of, err := id.Split()
	if err != nil {
		return nil, err
	}
	none := queue.Errorf(queue.NotFound, "execution %s is not in this host's hands", id)
	if of != peer.Host {
		return nil, none
	}
	ctx, cancel := h.request(ctx)
	defer cancel()
	x, err := h.store.Execution(ctx, job, of)
	if err != nil {
		return nil, err
	}
	if !x.State.InFlight() || x.Incarnation != peer.Incarnation {
		return nil, none
	}
	return h.scripts.get(ctx, job)
}
