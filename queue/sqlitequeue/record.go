package sqlitequeue

import (
	"context"

	"github.com/rexgate/rexgate/queue"
)

// Record stores events of one host.
func (s *Store) Record(ctx context.Context, h queue.HostEvents) (acks []queue.Ack, err error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	batches := byExecution(h.Events)
	err = s.write(ctx, len(h.Events), func(t *tx) error {
		acks = make([]queue.Ack, 0, len(batches))
		p, err := t.peer(h.Host)
		switch {
		case err != nil:
			return err
		case p == nil || p.deleted:
			return hostNotFound(h.Host)
		case p.incarnation != h.Incarnation:
			return supersededError(h.Host, p.incarnation, h.Incarnation)
		case p.revoked:
			return revokedError(h.Host)
		case h.Session != 0 && h.Session < p.epoch:
			return queue.Errorf(queue.Superseded, "host %s: session %d was superseded by %d", h.Host, h.Session, p.epoch)
		}
		for _, b := range batches {
			ack, err := t.record(p, b, h.Generation)
			if err != nil {
				return err
			}
			acks = append(acks, ack)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return acks, nil
}

// byExecution splits events by execution, in order of first mention, with what
// the store keeps of their times.
func byExecution(events []queue.Event) (batches [][]queue.Event) {
	place := map[queue.ExecutionID]int{}
	for _, e := range events {
		e.At = truncate(e.At)
		i, ok := place[e.Execution]
		if !ok {
			i = len(batches)
			place[e.Execution] = i
			batches = append(batches, nil)
		}
		batches[i] = append(batches[i], e)
	}
	return batches
}

// record applies events of one execution.
func (t *tx) record(p *peer, events []queue.Event, generation string) (queue.Ack, error) {
	id := events[0].Execution
	unknown := queue.Ack{Execution: id, Verdict: queue.VerdictForget, Reason: queue.ReasonUnknown}
	jobID, _, err := id.Split()
	if err != nil {
		return unknown, err
	}
	j, err := t.job(jobID)
	if err != nil || j == nil {
		return unknown, err
	}
	r, err := t.load(j, p.n, p.id)
	if err != nil || r == nil {
		return unknown, err
	}
	before := r.Held
	ack, appended := r.Record(events, generation, t.now)
	if r.State == before.State && r.Stored == before.Stored {
		return ack, nil
	}
	if r.State.InFlight() && (before.AcceptedAt.IsZero() || r.StartedAt != before.StartedAt) {
		if r.lapse, err = t.service(j.spec.SilenceAfter()); err != nil {
			return ack, err
		}
	}
	if err := t.append(r, &before.Output, appended); err != nil {
		return ack, err
	}
	if err := t.save(r); err != nil {
		return ack, err
	}
	if before.State.InFlight() && !r.State.InFlight() {
		return ack, t.hintIfWaiting(p, r.Lane)
	}
	return ack, nil
}

// append stores output behind what there is.
func (t *tx) append(r *row, before *queue.OutputInfo, events []queue.Event) error {
	if len(events) == 0 {
		return nil
	}
	if r.was == queue.Lost { // late: retention may have been here
		gone, err := t.outputGone(r.id >> ordinalBits)
		if err != nil || gone {
			return err
		}
	}
	out, errs := before.Stdout, before.Stderr
	for i := range events {
		e := &events[i]
		stream, missing := "gap", e.Bytes
		if e.Kind == queue.EventOutput {
			stream, missing = streamName(e.Stream), 0
		}
		if _, err := t.exec(`INSERT INTO output VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			r.id, e.Seq, stream, e.At.UnixMilli(), out, errs, missing, e.Data); err != nil {
			return err
		}
		if e.Kind == queue.EventOutput && e.Stream == queue.Stderr {
			errs += int64(len(e.Data))
		} else {
			out += int64(len(e.Data))
		}
	}
	return nil
}

func streamName(s queue.Stream) string {
	if s == queue.Stderr {
		return "stderr"
	}
	return "stdout"
}

// hintIfWaiting tells the host's gateway that a slot became free if something
// waits for it.
func (t *tx) hintIfWaiting(p *peer, l queue.Lane) error {
	if p.gateway == "" {
		return nil
	}
	waiting, err := t.exists(`SELECT 1 FROM execution INDEXED BY execution_live WHERE host = CAST(? AS INT) AND lane = CAST(? AS TEXT) AND turn BETWEEN 0 AND CAST(? AS INT) LIMIT 1`, p.n, l, t.now.UnixMilli())
	if waiting {
		t.hint(p.gateway, p.id)
	}
	return err
}
