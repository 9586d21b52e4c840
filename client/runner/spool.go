package runner

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// spool reads frames from a directory's segments. It holds no descriptor
// between calls, and remembers where the last read ended.
type spool struct {
	dir  string
	segs []segment

	at     int    // index of the segment of the cursor
	offset int64  // of the cursor; 0 = the segment's head hasn't been read
	next   int64  // number of the frame at the cursor
	before int64  // bytes of output before the cursor
	buf    []byte // reused
}

const readWindow = 64 << 10

// read gives frames from to last, max bytes of data and one frame at least.
// What is damaged or gone is a Missing frame. total is the output in bytes if
// the script has ended, else -1. The data of the frames is the caller's.
func (s *spool) read(from, last int64, max int, total int64) ([]Frame, error) {
	if from > last {
		return nil, nil
	}
	if err := s.seek(from); err != nil {
		return nil, err
	}
	for s.next <= last {
		frames, err := s.window(from, last, max)
		if err != nil || len(frames) > 0 {
			return frames, err
		}
		if s.next > last {
			break
		}
		gap, err := s.skip(last, total)
		if err != nil {
			return nil, err
		}
		if gap.Through >= from {
			gap.Seq = from
			return []Frame{gap}, nil
		}
	}
	return nil, nil
}

// seek puts the cursor at or before a frame.
func (s *spool) seek(from int64) error {
	if s.offset > 0 && s.next == from {
		return nil
	}
	segs, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	s.segs, s.at, s.offset, s.next, s.before = segs, 0, 0, FirstSeq, 0
	for i, g := range segs {
		if g.first <= from {
			s.at, s.next = i, g.first
		}
	}
	return nil
}

// window reads whole frames at the cursor, moves the cursor behind them, and
// gives those from number from to last: max bytes of data, but one frame at least. An
// empty answer with no error means that the frame at the cursor can't be read.
func (s *spool) window(from, last int64, max int) ([]Frame, error) {
	relisted := false
	for {
		b, err := s.load()
		if err != nil {
			return nil, err
		}
		out, moved := s.parse(b, from, last, max)
		if len(out) > 0 {
			return out, nil
		}
		if moved {
			continue // all before from
		}
		if s.advance() {
			continue
		}
		if relisted {
			return nil, nil
		}
		relisted = true // a segment may have been begun since
		if ok, err := s.relist(); !ok || err != nil {
			return nil, err
		}
	}
}

// relist reads the directory again and finds the cursor's place in it; not ok
// if its segment is gone.
func (s *spool) relist() (ok bool, err error) {
	var was string
	if s.at < len(s.segs) {
		was = s.segs[s.at].path
	}
	if s.segs, err = listSegments(s.dir); err != nil {
		return false, err
	}
	s.at = -1
	for i, g := range s.segs {
		if g.first <= s.next {
			s.at = i
		}
	}
	if s.at < 0 {
		s.at = len(s.segs)
		return false, nil
	}
	if g := s.segs[s.at]; g.path != was {
		s.offset = 0
		return g.first == s.next, nil
	}
	return true, nil
}

// load reads a window of the cursor's segment; nothing if there is none or its head is damaged.
func (s *spool) load() ([]byte, error) {
	if s.at >= len(s.segs) || s.segs[s.at].first > s.next {
		return nil, nil
	}
	f, err := os.Open(s.segs[s.at].path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if s.buf == nil {
		s.buf = make([]byte, readWindow)
	}
	n, err := f.ReadAt(s.buf, s.offset)
	if errors.Is(err, syscall.EIO) {
		return nil, nil // the disk has lost it, and won't find it by being asked again
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	b := s.buf[:n]
	if s.offset > 0 {
		return b, nil
	}
	first, before, err := parseSegmentHead(b)
	if err != nil || first != s.next {
		return nil, nil
	}
	s.before, s.offset = before, segmentHead
	return b[segmentHead:], nil
}

// parse moves the cursor over the whole frames of b.
func (s *spool) parse(b []byte, from, last int64, max int) (out []Frame, moved bool) {
	size := 0
	for s.next <= last {
		fr, n, err := parseFrame(b)
		if err != nil || fr.Seq != s.next {
			break
		}
		if fr.Seq >= from {
			if len(out) > 0 && size+len(fr.Data) > max {
				break
			}
			size += len(fr.Data)
			fr.Data = bytes.Clone(fr.Data)
			out = append(out, fr)
		}
		b = b[n:]
		s.offset += int64(n)
		s.next++
		s.before += int64(len(fr.Data))
		moved = true
	}
	return out, moved
}

// advance moves the cursor to the next segment, if that begins with the frame
// that is due.
func (s *spool) advance() bool {
	if s.at+1 < len(s.segs) && s.segs[s.at+1].first == s.next {
		s.at++
		s.offset = 0
		return true
	}
	return false
}

// skip moves the cursor to the next segment that can be read, or behind last,
// and says what was left out.
func (s *spool) skip(last, total int64) (Frame, error) {
	gap := Frame{Kind: Missing, Seq: s.next, Through: last}
	had := s.before
	segs, err := listSegments(s.dir)
	if err != nil {
		return gap, err
	}
	s.segs = segs
	for i, g := range segs {
		if g.first <= s.next || g.first > last {
			continue
		}
		before, ok, err := headOf(g)
		if err != nil {
			return gap, err
		}
		if !ok {
			continue
		}
		gap.Through, gap.Bytes = g.first-1, max(before-had, 0)
		s.at, s.offset, s.next, s.before = i, 0, g.first, before
		return gap, nil
	}
	if total >= 0 {
		gap.Bytes = max(total-had, 0)
	}
	s.at, s.offset, s.next = len(segs), 0, last+1
	return gap, nil
}

// headOf reads a segment's head; not ok if it is gone or damaged.
func headOf(g segment) (before int64, ok bool, err error) {
	f, err := os.Open(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	head := make([]byte, segmentHead)
	_, err = io.ReadFull(f, head)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EIO):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	first, before, err := parseSegmentHead(head)
	return before, err == nil && first == g.first, nil
}

// count finds the number of the last frame on disk, and the bytes of output up to
// it, where no supervisor is there to ask.
func (s *spool) count() (last, bytes int64, err error) {
	segs, err := listSegments(s.dir)
	if err != nil {
		return 0, 0, err
	}
	last = FirstSeq - 1
	for i := len(segs) - 1; i >= 0; i-- {
		before, ok, err := headOf(segs[i])
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			continue
		}
		s.segs, s.at, s.offset, s.next, s.before = segs[i:i+1], 0, 0, segs[i].first, before
		const all = int64(1) << 62
		if _, err := s.window(all, all, 0); err != nil {
			return 0, 0, err
		}
		last, bytes = s.next-1, s.before
		break
	}
	*s = spool{dir: s.dir, buf: s.buf}
	return last, bytes, nil
}
