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
	segmentSize    = 1 << 20 // a segment ends at the frame that reaches it; where there is less room, a quarter of that
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

// parseSegmentHead fails with errBadFrame for one of another version too: there is nothing in it that
// could be read.
func parseSegmentHead(b []byte) (first, before int64, err error) {
	if len(b) < segmentHead || string(b[:4]) != segmentMagic || binary.LittleEndian.Uint32(b[4:]) != segmentVersion {
		return 0, 0, errBadFrame
	}
	return int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:])), nil
}

// segmentWriter appends frames to segments. A write that fails leaves nothing
// behind and may be repeated.
type segmentWriter struct {
	dir     string
	file    *os.File // nil = the next frame begins a segment
	first   int64    // number of file's first frame
	size    int64    // of file, up to its last whole frame
	next    int64    // number of the next frame
	bytes   int64    // of output, in all
	room    int64    // bytes that may be on disk; 0 = no bound
	earlier []sized  // segments before file, as far as they are known to be there
	buf     []byte
}

// sized is a segment that is written.
type sized struct {
	path string
	size int64
}

func newSegmentWriter(dir string) *segmentWriter {
	return &segmentWriter{dir: dir, next: FirstSeq, buf: make([]byte, 0, maxFrame)}
}

// full tells whether a frame may not be written before others are removed.
func (w *segmentWriter) full(data []byte) bool {
	need := int64(frameHead+frameBody+len(data)) + w.size
	if w.file == nil || w.size >= w.segmentSize() {
		need += segmentHead
	}
	if w.room <= 0 || w.used()+need <= w.room {
		return false
	}
	w.earlier = slices.DeleteFunc(w.earlier, func(g sized) bool {
		_, err := os.Lstat(g.path)
		return errors.Is(err, fs.ErrNotExist)
	})
	return w.used()+need > w.room
}

// used is what the earlier segments have on disk.
func (w *segmentWriter) used() (n int64) {
	for _, g := range w.earlier {
		n += g.size
	}
	return n
}

func (w *segmentWriter) segmentSize() int64 {
	if w.room <= 0 {
		return segmentSize
	}
	return min(segmentSize, w.room/4)
}

// append writes one frame, with the next number.
func (w *segmentWriter) append(at int64, kind FrameKind, data []byte) error {
	if w.file != nil && w.size >= w.segmentSize() {
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
	w.file, w.size, w.first = f, segmentHead, w.next
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
	w.earlier = append(w.earlier, sized{filepath.Join(w.dir, segmentName(w.first)), w.size})
	w.file, w.size = nil, 0
	return err
}

// trimSegments removes segments of which all frames are up to through, never the last one: it may be
// written to, and tells how far the script got.
func trimSegments(dir string, through int64) error {
	segs, err := listSegments(dir)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(segs) && segs[i+1].first-1 <= through; i++ {
		if err := os.Remove(segs[i].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
