package redisqueue

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/rexgate/rexgate/queue"
)

// Record stores events of one host at once.
func (s *Store) Record(ctx context.Context, h queue.HostEvents) ([]queue.Ack, error) {
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
	var order []queue.ExecutionID
	byID := make(map[queue.ExecutionID][]*queue.Event)
	for i := range h.Events {
		e := &h.Events[i]
		if _, ok := byID[e.Execution]; !ok {
			order = append(order, e.Execution)
		}
		byID[e.Execution] = append(byID[e.Execution], e)
	}
	keys := []string{s.k.queue(p, h.Host)}
	var b packer
	b.array(4 + 2*len(order)).str(string(h.Host)).int(int64(1 + len(order))).int(h.Incarnation).str(h.Generation)
	for _, id := range order {
		job, _, err := id.Split()
		if err != nil {
			return nil, err
		}
		keys = append(keys, s.k.output(p, h.Host, job))
		b.str(string(job)).array(len(byID[id]))
		for _, e := range byID[id] {
			packEvent(&b, e)
		}
	}
	r, err := s.lanes.do(ctx, &laned{sc: s.sc.record, p: p, host: h.Host, keys: keys, call: b.String()})
	if err != nil {
		return nil, about("host "+string(h.Host), err)
	}
	list := r.row(2)
	if len(list) != len(order) {
		return nil, failed("record", fmt.Errorf("%d acks for %d executions", len(list), len(order)))
	}
	acks := make([]queue.Ack, len(order))
	for i, id := range order {
		a := list.row(i + 1)
		acks[i] = queue.Ack{Execution: id, Stored: a.int(1), Verdict: queue.Verdict(a.str(2)), Reason: a.str(3)}
	}
	return acks, nil
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
	stream, n := byte(e.Stream), uint64(len(e.Data))
	if e.Kind == queue.EventGap {
		stream, n = 0, uint64(e.Bytes)
	}
	b := make([]byte, 0, len(e.Data)+24)
	b = append(b, stream)
	b = binary.AppendUvarint(b, uint64(e.Seq))
	b = binary.AppendVarint(b, micros(e.At))
	b = binary.AppendUvarint(b, n)
	if stream != 0 {
		b = append(b, e.Data...)
	}
	return string(b)
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
