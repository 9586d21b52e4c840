package queue

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// JobID names a job: 26 characters of [0-9a-v], of which the first ten hold the
// millisecond of creation, so that ids sort by age.
type JobID string

// HostID names a host: 1 to 128 characters of [A-Za-z0-9._-], beginning with a
// letter or digit. Ids are compared by byte.
type HostID string

// ExecutionID names one job on one host: "<job>.<host>". It is derived, so
// that expanding a job twice creates nothing twice.
type ExecutionID string

// Lane names a queue of a host: 1 to 32 characters of [a-z0-9-].
type Lane string

// The lanes that every host has. LaneUrgent never waits behind LaneDefault.
const (
	LaneDefault Lane = "default"
	LaneUrgent  Lane = "urgent"
)

const (
	jobIDLen  = 26
	maxHostID = 128
	maxLane   = 32
)

// base32 with the extended hex alphabet keeps the order of the bytes.
var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewJobID makes an id for a job created at t: 48 bits of milliseconds and 80
// random bits (the layout of a ULID).
func NewJobID(t time.Time) JobID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixMilli())<<16)
	rand.Read(b[6:])
	return JobID(strings.ToLower(idEncoding.EncodeToString(b[:])))
}

// Validate tells what is wrong with the id.
func (id JobID) Validate() error {
	ok := len(id) == jobIDLen
	for i := 0; ok && i < len(id); i++ {
		ok = isDigit(id[i]) || 'a' <= id[i] && id[i] <= 'v'
	}
	if !ok {
		return Errorf(Invalid, "job id %.40q is not 26 characters of [0-9a-v]", string(id))
	}
	return nil
}

// Validate tells what is wrong with the id.
func (id HostID) Validate() error {
	ok := len(id) > 0 && len(id) <= maxHostID && (isDigit(id[0]) || isLower(id[0]|0x20))
	for i := 1; ok && i < len(id); i++ {
		c := id[i]
		ok = isDigit(c) || isLower(c|0x20) || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return Errorf(Invalid, "host id %.140q is not 1 to 128 characters of [A-Za-z0-9._-] beginning with a letter or digit", string(id))
	}
	return nil
}

// Validate tells what is wrong with the lane's name.
func (l Lane) Validate() error {
	ok := len(l) > 0 && len(l) <= maxLane && l[0] != '-'
	for i := 0; ok && i < len(l); i++ {
		ok = isDigit(l[i]) || isLower(l[i]) || l[i] == '-'
	}
	if !ok {
		return Errorf(Invalid, "lane %.40q is not 1 to 32 characters of [a-z0-9-]", string(l))
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

// NewExecutionID derives the id of a job's execution on a host.
func NewExecutionID(job JobID, host HostID) ExecutionID {
	return ExecutionID(string(job) + "." + string(host))
}

// Split is the inverse of NewExecutionID.
func (id ExecutionID) Split() (JobID, HostID, error) {
	s := string(id)
	if len(s) < jobIDLen+2 || s[jobIDLen] != '.' {
		return "", "", Errorf(Invalid, "execution id %.180q is not <job>.<host>", s)
	}
	job, host := JobID(s[:jobIDLen]), HostID(s[jobIDLen+1:])
	if err := job.Validate(); err != nil {
		return "", "", err
	}
	return job, host, host.Validate()
}
