package redisqueue

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/rexgate/rexgate/queue"
)

// segmentStep is how many output segments are read at a time.
const segmentStep = 16

// Output reads stored output: from the record while it is small, else from
// the segments, found by the offsets at which they begin.
func (s *Store) Output(ctx context.Context, q queue.OutputQuery) ([]queue.Chunk, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := q.Validate(); err != nil {
		return nil, err
	}
	info, err := s.known(ctx, q.Job)
	if err != nil {
		return nil, err
	}
	_, r, err := s.execution(ctx, info, q.Host)
	if err != nil || r == nil || r.int(xDeleted) == 1 {
		return nil, err
	}
	read := reader{q: q, limit: q.Limit}
	segments := r.int(xSegments)
	if segments == 0 {
		err := read.segment([]byte(r.str(xInline)), 0, 0)
		return read.out, err
	}
	key := s.k.output(partition(q.Host), q.Host, q.Job)
	from, err := s.findSegment(ctx, key, q, segments)
	if err != nil {
		return nil, err
	}
	for from < segments && !read.full {
		list, err := s.rdb.LRange(ctx, key, from, from+segmentStep-1).Result()
		if err != nil {
			return nil, failed("output", err)
		}
		if len(list) == 0 {
			break // deleted just now
		}
		for _, seg := range list {
			if len(seg) < 16 {
				return nil, failed("output", errors.New("a segment is cut"))
			}
			out, stderr := binary.BigEndian.Uint64([]byte(seg[:8])), binary.BigEndian.Uint64([]byte(seg[8:16]))
			if err := read.segment([]byte(seg[16:]), int64(out), int64(stderr)); err != nil {
				return nil, err
			}
		}
		from += int64(len(list))
	}
	return read.out, nil
}

// findSegment gives the first segment that can hold what is wanted: the last that begins
// before the offset. A gap at the very offset may be at the end of it.
func (s *Store) findSegment(ctx context.Context, key string, q queue.OutputQuery, n int64) (int64, error) {
	low, high := int64(0), n // the answer is in [low, high)
	for high-low > 1 && q.Offset > 0 {
		mid := (low + high) / 2
		v, err := s.rdb.LIndex(ctx, key, mid).Result()
		if isNil(err) || err == nil && len(v) < 16 {
			return low, nil
		}
		if err != nil {
			return 0, failed("output", err)
		}
		begin := coordinate(q.Stream, int64(binary.BigEndian.Uint64([]byte(v[:8]))), int64(binary.BigEndian.Uint64([]byte(v[8:16]))))
		if begin < q.Offset {
			low = mid
		} else {
			high = mid
		}
	}
	return low, nil
}

func coordinate(stream queue.Stream, out, stderr int64) int64 {
	switch stream {
	case queue.Stdout:
		return out
	case queue.Stderr:
		return stderr
	}
	return out + stderr
}

// reader gathers the chunks that a query wants.
type reader struct {
	q     queue.OutputQuery
	limit int
	size  int
	full  bool
	out   []queue.Chunk
}

// segment takes what is wanted of a segment that begins at the given offsets.
func (r *reader) segment(b []byte, out, stderr int64) error {
	for len(b) > 0 && !r.full {
		c, rest, ok := decodeChunk(b)
		if !ok {
			return failed("output", errors.New("a chunk is cut"))
		}
		b = rest
		c.Offset = coordinate(r.q.Stream, out, stderr)
		switch c.Stream {
		case queue.Stdout:
			out += int64(len(c.Data))
		case queue.Stderr:
			stderr += int64(len(c.Data))
		}
		r.add(c)
	}
	return nil
}

func (r *reader) add(c queue.Chunk) {
	if c.Stream == 0 {
		if c.Offset >= r.q.Offset {
			r.out = append(r.out, c)
		}
		return
	}
	if r.q.Stream != queue.Both && c.Stream != r.q.Stream {
		return
	}
	if skip := r.q.Offset - c.Offset; skip > 0 {
		if skip >= int64(len(c.Data)) {
			return
		}
		c.Data, c.Offset = c.Data[skip:], c.Offset+skip
	}
	if r.size+len(c.Data) > r.limit {
		r.full = true
		if r.size > 0 {
			return
		}
		c.Data = c.Data[:r.limit]
	}
	r.size += len(c.Data)
	r.out = append(r.out, c)
}
