package redisqueue

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/rexgate/rexgate/queue"
)

// Record stores events of one host at once.
func (s *Store) Record(ctx context.Context, h queue.HostEvents) (acks []queue.Ack, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := h.Validate(); err != nil {
		return nil, err
	}
	if err := h.Host.Validate(); err != nil {
		return nil, err
	}
	p := partition(h.Host)
	order, batches := byExecution(h.Events)
	var r row
	if len(order) == 1 {
		r, err = s.recordUsual(ctx, &h, p, batches[0])
	}
	if err == nil && (r == nil || r.str(1) == "again") {
		r, err = s.recordAll(ctx, &h, p, order, batches)
	}
	if err != nil {
		return nil, about("host "+string(h.Host), err)
	}
	list := r.row(2)
	if len(list) != len(order) {
		return nil, failed("record", fmt.Errorf("%d acks for %d executions", len(list), len(order)))
	}
	acks = make([]queue.Ack, len(order))
	for i, id := range order {
		a := list.row(i + 1)
		acks[i] = queue.Ack{Execution: id, Stored: a.int(1), Verdict: queue.Verdict(a.str(2)), Reason: a.str(3)}
	}
	if err := s.regained(ctx, h.Host, acks); err != nil {
		return nil, err
	}
	return acks, nil
}

// recordUsual records the events of one execution by their summary alone, if they
// have one: nil if not; and "again" if it doesn't fit what is stored, and so was not applied.
func (s *Store) recordUsual(ctx context.Context, h *queue.HostEvents, p int, events []*queue.Event) (row, error) {
	var b packer
	job, _, err := events[0].Execution.Split()
	if err != nil {
		return nil, err
	}
	keys := []string{s.k.queue(p, h.Host)}
	if events[len(events)-1].Kind != queue.EventFinished {
		keys = nil // it won't be looked at
	}
	b.array(7).str(string(h.Host)).int(int64(len(keys))).int(h.Incarnation).str(h.Generation).int(h.Session)
	if !packSummary(&b, events) {
		return nil, nil
	}
	b.str(string(job))
	return s.lanes.do(ctx, &laned{sc: s.sc.record, p: p, host: h.Host, keys: keys, call: b.String()})
}

// recordAll records any events.
func (s *Store) recordAll(ctx context.Context, h *queue.HostEvents, p int, order []queue.ExecutionID, batches [][]*queue.Event) (row, error) {
	keys := make([]string, 1, 1+len(order))
	keys[0] = s.k.queue(p, h.Host)
	var b packer
	b.array(6 + 2*len(order)).str(string(h.Host)).int(int64(1 + len(order))).int(h.Incarnation).str(h.Generation).int(h.Session).bool(false)
	for i, id := range order {
		job, _, err := id.Split()
		if err != nil {
			return nil, err
		}
		keys = append(keys, s.k.output(p, h.Host, job))
		b.str(string(job)).array(len(batches[i]))
		for _, e := range batches[i] {
			packEvent(&b, e)
		}
	}
	return s.lanes.do(ctx, &laned{sc: s.sc.record, p: p, host: h.Host, keys: keys, call: b.String()})
}

// byExecution splits events by execution, in order of first mention.
func byExecution(events []queue.Event) (order []queue.ExecutionID, batches [][]*queue.Event) {
	for i := range events {
		e := &events[i]
		at := slices.Index(order, e.Execution)
		if at < 0 {
			at = len(order)
			order, batches = append(order, e.Execution), append(batches, nil)
		}
		batches[at] = append(batches[at], e)
	}
	return order, batches
}

// packSummary writes what quick() in record.lua reads; false if the events of one
// execution aren't of the usual kind.
func packSummary(b *packer, events []*queue.Event) bool {
	first, last := events[0], events[len(events)-1]
	var out, stderr int64
	var chunks []byte
	// Output alone is mostly more of what doesn't fit the record any more.
	usual := first.Kind != queue.EventOutput || last.Kind == queue.EventFinished
	for i, e := range events {
		usual = usual && e.Seq == first.Seq+int64(i)
		switch e.Kind {
		case queue.EventAccepted, queue.EventStarted:
		case queue.EventOutput:
			chunks = appendChunk(chunks, e)
			if e.Stream == queue.Stderr {
				stderr += int64(len(e.Data))
			} else {
				out += int64(len(e.Data))
			}
		case queue.EventFinished:
			usual = usual && e == last && e.Dropped == 0
		default:
			usual = false
		}
	}
	if !usual || len(chunks) > inlineMax {
		return false
	}
	n := 4
	if len(chunks) > 0 {
		n = 7
	}
	finished := last.Kind == queue.EventFinished
	if finished {
		n = 12
	}
	b.array(n).int(first.Seq).int(last.Seq).str(first.Token).int(first.Position)
	if n > 4 {
		b.int(out).int(stderr).str(string(chunks))
	}
	if finished {
		b.str(string(rune(last.Outcome))).int(int64(last.ExitCode)).str(last.Signal).str(cutReason(last.Reason)).int(micros(last.At))
	}
	return true
}

// packEvent writes an event as record.lua reads it.
func packEvent(b *packer, e *queue.Event) {
	at := micros(e.At)
	switch e.Kind {
	case queue.EventAccepted:
		b.array(4).int(e.Seq).str("a").str(e.Token).int(e.Position)
	case queue.EventRejected:
		b.array(5).int(e.Seq).str("j").str(e.Token).str(cutReason(e.Reason)).int(at)
	case queue.EventStarted:
		b.array(2).int(e.Seq).str("s")
	case queue.EventOutput:
		b.array(5).int(e.Seq).str("o").int(int64(e.Stream)).int(int64(len(e.Data))).str(encodeChunk(e))
	case queue.EventGap:
		b.array(5).int(e.Seq).str("g").int(e.Through).int(e.Bytes).str(encodeChunk(e))
	case queue.EventFinished:
		b.array(8).int(e.Seq).str("f").str(string(rune(e.Outcome))).int(int64(e.ExitCode)).str(e.Signal).
			str(cutReason(e.Reason)).int(at).int(e.Dropped)
	}
}

// encodeChunk gives what is stored of output or a gap: stream (0 for a gap), number,
// time, length, data.
func encodeChunk(e *queue.Event) string {
	return string(appendChunk(make([]byte, 0, len(e.Data)+24), e))
}

func appendChunk(b []byte, e *queue.Event) []byte {
	stream, n := byte(e.Stream), uint64(len(e.Data))
	if e.Kind == queue.EventGap {
		stream, n = 0, uint64(e.Bytes)
	}
	b = append(b, stream)
	b = binary.AppendUvarint(b, uint64(e.Seq))
	b = binary.AppendVarint(b, micros(e.At))
	b = binary.AppendUvarint(b, n)
	if stream != 0 {
		b = append(b, e.Data...)
	}
	return b
}

// decodeChunk is the inverse of encodeChunk; Offset is left to the caller.
func decodeChunk(b []byte) (c queue.Chunk, rest []byte, ok bool) {
	if len(b) == 0 {
		return c, nil, false
	}
	c.Stream, b = queue.Stream(b[0]), b[1:]
	seq, n1 := binary.Uvarint(b)
	if n1 <= 0 {
		return c, nil, false
	}
	at, n2 := binary.Varint(b[n1:])
	if n2 <= 0 {
		return c, nil, false
	}
	size, n3 := binary.Uvarint(b[n1+n2:])
	if n3 <= 0 {
		return c, nil, false
	}
	b = b[n1+n2+n3:]
	c.Seq, c.At = int64(seq), moment(at)
	if c.Stream == 0 {
		c.Gap = int64(size)
		return c, b, true
	}
	if uint64(len(b)) < size {
		return c, nil, false
	}
	c.Data = b[:size:size]
	return c, b[size:], true
}
