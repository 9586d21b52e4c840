package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/rexgate/rexgate/session/wire"
)

// Entry is what the journal knows of one execution. Each record is a whole
// entry; the last one counts.
type Entry struct {
	Execution    string     `json:"x"`
	Token        string     `json:"token"`
	Lane         string     `json:"lane"`
	Position     int64      `json:"position"` // of the record that accepted it
	AcceptedAt   int64      `json:"accepted_at"`
	DeliverUntil int64      `json:"deliver_until"`
	Grace        int64      `json:"grace"`
	Spec         *wire.Spec `json:"spec,omitempty"`    // without the script; until it is started
	Script       []byte     `json:"script,omitempty"`  // likewise
	StartedAt    int64      `json:"started,omitempty"` // the start mark
	Room         int64      `json:"room,omitempty"`    // bytes on disk that its script's output needs; from the start mark on
	Forgotten    bool       `json:"forgotten,omitempty"`
	Ended        *Ended     `json:"ended,omitempty"`
	SettledAt    int64      `json:"settled,omitempty"` // when all its events were stored
}

// Ended is the last event of an execution. Times are of the host's clock, in Unix milliseconds.
type Ended struct {
	Seq      int64        `json:"seq"`
	At       int64        `json:"at"`
	Rejected bool         `json:"rejected,omitempty"`
	Outcome  wire.Outcome `json:"outcome,omitempty"`
	ExitCode int          `json:"exit_code"`
	Signal   string       `json:"signal,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Dropped  int64        `json:"dropped,omitempty"`
	Bytes    int64        `json:"bytes,omitempty"`
}

// header is the first record.
type header struct {
	Generation string `json:"generation"`
	Machine    string `json:"machine,omitempty"`
	Next       int64  `json:"next"` // position of the next record
}

// record is any other record.
type record struct {
	N     int64  `json:"n"`
	Entry *Entry `json:"e"`
	// Synced is how many bytes of the file were on the disk for certain when this was written: damage before
	// that is no power failure's. 0 = not told.
	Synced int64 `json:"s,omitempty"`
}

// The file: a magic, a version, then records: length and CRC-32C of what follows, then
// JSON. Integers are little-endian.
const (
	journalMagic   = "RXJL"
	journalVersion = 1
	fileHead       = 8
	recordHead     = 8
	maxRecord      = 4 << 20
)

var errBadRecord = errors.New("record is cut or damaged")

func appendRecord(b []byte, v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return b, fmt.Errorf("journal: %w", err)
	}
	if len(payload) > maxRecord {
		return b, fmt.Errorf("journal: a record of %d bytes, at most %d", len(payload), maxRecord)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, payload...), nil
}

// cutRecord gives the payload of the record at the start of b, and what follows.
func cutRecord(b []byte) (payload, rest []byte, err error) {
	if len(b) < recordHead {
		return nil, nil, errBadRecord
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n == 0 || n > maxRecord || len(b)-recordHead < n {
		return nil, nil, errBadRecord
	}
	payload = b[recordHead : recordHead+n]
	if payload[0] != '{' || crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, errBadRecord
	}
	return payload, b[recordHead+n:], nil
}

// contents is what a journal file holds.
type contents struct {
	header  header
	entries map[string]Entry
	size    int // up to the end of the last whole record
}

// parseJournal reads a journal file. What wasn't synced may be damaged in any part by a power failure, whole
// records after that included; from the damage on it is left out: nothing was done on its strength. Damage
// in what was synced is an error: records of what was started may be in it.
func parseJournal(b []byte) (contents, error) {
	c := contents{entries: map[string]Entry{}}
	if len(b) < fileHead || string(b[:4]) != journalMagic {
		return c, errors.New("not a journal")
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != journalVersion {
		return c, fmt.Errorf("version %d, this program knows only %d", v, journalVersion)
	}
	payload, rest, err := cutRecord(b[fileHead:])
	if err == nil {
		err = json.Unmarshal(payload, &c.header)
	}
	if err != nil || c.header.Generation == "" {
		return c, errors.New("its header is damaged")
	}
	synced := int64(0)
	for len(rest) > 0 {
		payload, next, err := cutRecord(rest)
		if err != nil {
			at := len(b) - len(rest)
			if after := syncedWithin(rest[1:]); max(synced, after) > int64(at) {
				return c, fmt.Errorf("damaged at byte %d, before what was on the disk", at)
			}
			break
		}
		var r record
		if err := json.Unmarshal(payload, &r); err != nil || r.Entry == nil || r.Entry.Execution == "" {
			return c, fmt.Errorf("a record at byte %d that this program can't read", len(b)-len(rest))
		}
		c.entries[r.Entry.Execution] = *r.Entry
		c.header.Next = max(c.header.Next, r.N+1)
		synced = max(synced, r.Synced)
		rest = next
	}
	c.size = len(b) - len(rest)
	return c, nil
}

// syncedWithin gives what whole records anywhere in b tell of what was synced before them. One that doesn't
// tell was written by an agent that took all that had others after it for synced.
func syncedWithin(b []byte) (synced int64) {
	for len(b) > recordHead {
		i := bytes.IndexByte(b[recordHead:], '{')
		if i < 0 {
			break
		}
		b = b[i:]
		payload, next, err := cutRecord(b)
		if err != nil {
			b = b[1:]
			continue
		}
		b = next
		var r record
		if json.Unmarshal(payload, &r) != nil || r.Synced == 0 {
			return math.MaxInt64
		}
		synced = max(synced, r.Synced)
	}
	return synced
}
