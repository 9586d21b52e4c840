package runner

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/rexgate/rexgate/session/wire"
)

// A frame on disk: length and CRC-32C of what follows, then number, time, kind,
// data; integers little-endian.
const (
	frameHead = 8
	frameBody = 8 + 8 + 1
	maxFrame  = frameHead + frameBody + wire.MaxChunk
)

var (
	errShortFrame = errors.New("runner: frame is cut")
	errBadFrame   = errors.New("runner: frame is damaged")
)

// shortFrame is the length below which a checksum isn't worth the tables that make long ones fast: they take a
// quarter of a millisecond, once a process, which is what many a supervisor's whole work is.
const shortFrame = 512

// checksum is CRC-32C.
func checksum(b []byte) uint32 {
	if len(b) >= shortFrame {
		return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	}
	crc := ^uint32(0)
	for _, c := range b {
		crc ^= uint32(c)
		for range 8 {
			crc = crc>>1 ^ crc32.Castagnoli&-(crc&1)
		}
	}
	return ^crc
}

func appendFrame(b []byte, f Frame) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(frameBody+len(f.Data)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Seq))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.At))
	b = append(b, byte(f.Kind))
	b = append(b, f.Data...)
	binary.LittleEndian.PutUint32(b[start+4:], checksum(b[start+frameHead:]))
	return b
}

// parseFrame reads the frame at the start of b and gives its length. Data is a
// part of b.
func parseFrame(b []byte) (f Frame, n int, err error) {
	if len(b) < frameHead {
		return f, 0, errShortFrame
	}
	size := int(binary.LittleEndian.Uint32(b))
	if size < frameBody || size > maxFrame-frameHead {
		return f, 0, errBadFrame
	}
	if len(b) < frameHead+size {
		return f, 0, errShortFrame
	}
	body := b[frameHead : frameHead+size]
	if checksum(body) != binary.LittleEndian.Uint32(b[4:]) {
		return f, 0, errBadFrame
	}
	f = Frame{
		Seq:  int64(binary.LittleEndian.Uint64(body)),
		At:   int64(binary.LittleEndian.Uint64(body[8:])),
		Kind: FrameKind(body[16]),
		Data: body[frameBody:],
	}
	if f.Kind < Started || f.Kind > Stderr || f.Seq < FirstSeq {
		return f, 0, errBadFrame
	}
	return f, frameHead + size, nil
}
