package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment begins with a magic, a version, the number of its first frame, and
// how many bytes of output the segments before it hold.
const (
	segmentMagic   = "RXSG"
	segmentVersion = 1
	segmentHead    = 4 + 4 + 8 + 8
	segmentSize    = 1 << 20 // a segment ends at the frame that reaches it
	segmentSuffix  = ".seg"
)

func segmentName(first int64) string { return fmt.Sprintf("%012d%s", first, segmentSuffix) }

type segment struct {
	path  string
	first int64
}

// listSegments gives a directory's segments by number.
func listSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var segs []segment
	for _, e := range entries {
		num, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseInt(num, 10, 64)
		if ok && err == nil {
			segs = append(segs, segment{filepath.Join(dir, e.Name()), first})
		}
	}
	slices.SortFunc(segs, func(a, b segment) int { return int(min(max(a.first-b.first, -1), 1)) })
	return segs, nil
}

func parseSegmentHead(b []byte) (first, before int64, err error) {
	if len(b) < segmentHead || string(b[:4]) != segmentMagic {
		return 0, 0, errBadFrame
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != segmentVersion {
		return 0, 0, fmt.Errorf("runner: segment of version %d, only %d is known", v, segmentVersion)
	}
	return int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:])), nil
}

// segmentWriter appends frames to segments. A write that fails leaves nothing
// behind and may be repeated.
type segmentWriter struct {
	dir   string
	file  *os.File // nil = the next frame begins a segment
	size  int64    // of file, up to its last whole frame
	next  int64    // number of the next frame
	bytes int64    // of output, in all
	buf   []byte
}

func newSegmentWriter(dir string) *segmentWriter {
	return &segmentWriter{dir: dir, next: FirstSeq, buf: make([]byte, 0, maxFrame)}
}

// append writes one frame, with the next number.
func (w *segmentWriter) append(at int64, kind FrameKind, data []byte) error {
	if w.file != nil && w.size >= segmentSize {
		// Not with the frame that fills it: a sync that fails would have that written again.
		if err := w.end(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.buf = appendFrame(w.buf[:0], Frame{Seq: w.next, At: at, Kind: kind, Data: data})
	if _, err := w.file.WriteAt(w.buf, w.size); err != nil {
		// A reader takes a torn frame for one that is still being written.
		return errors.Join(err, w.file.Truncate(w.size))
	}
	w.size += int64(len(w.buf))
	w.next++
	w.bytes += int64(len(data))
	return nil
}

func (w *segmentWriter) begin() error {
	head := append(make([]byte, 0, segmentHead), segmentMagic...)
	head = binary.LittleEndian.AppendUint32(head, segmentVersion)
	head = binary.LittleEndian.AppendUint64(head, uint64(w.next))
	head = binary.LittleEndian.AppendUint64(head, uint64(w.bytes))
	path := filepath.Join(w.dir, segmentName(w.next))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(head); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	w.file, w.size = f, segmentHead
	return nil
}

// end syncs and closes the segment; the next frame begins another.
func (w *segmentWriter) end() error {
	if w.file == nil {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	err := w.file.Close()
	w.file = nil
	return err
}
