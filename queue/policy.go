package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// OfflinePolicy says what becomes of an execution on a host that is offline.
type OfflinePolicy string

// The policies.
const (
	// OfflineWait: it waits for the host, up to the pickup timeout.
	OfflineWait OfflinePolicy = "wait"
	// OfflineSkip: it is cancelled (WhyOffline) where the host is offline at the moment at which it becomes due: its release, or
	// not_before if that is later. Afterwards it waits like any other. A gateway, or a poll, that is overdue only
	// because of an outage (of the store, or of what sweeps it) makes no host offline: its deadline counts in
	// service time. A not_before that is reached is seen to by the next Sweep, or by a Lease of the host, which is online then.
	OfflineSkip OfflinePolicy = "skip"
)

// The reasons of results that policies give, for people.
const (
	WhyOffline    = "skipped: the host was offline"
	WhyUnselected = "skipped: the host's labels no longer match the job's selector"
)

// supersededBy begins the reason of what a newer job replaced.
const supersededBy = "superseded by job "

// WhySuperseded is the reason of a result that a newer job's replaced.
func WhySuperseded(newer JobID) string { return supersededBy + string(newer) }

// SupersedeScope is what two jobs share of which the newer replaces the older: the key, and the
// operator, so that nobody ends the jobs of others by it. "" = none.
func (j Job) SupersedeScope() string {
	if j.Spec.SupersedeKey == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(j.CreatedBy + "\x00" + j.Spec.SupersedeKey))
	return hex.EncodeToString(sum[:16])
}

// Newer tells whether a job was submitted after another.
func (j Job) Newer(than Job) bool {
	if !j.CreatedAt.Equal(than.CreatedAt) {
		return j.CreatedAt.After(than.CreatedAt)
	}
	return j.ID > than.ID
}

// Withdraw ends what isn't delivered as cancelled, for a reason of the store's own, and flags what is leased: it
// ends by EndLease or by its accepted. What was accepted goes on.
func (h *Held) Withdraw(why string, now time.Time) {
	switch h.State {
	case Planned, Queued:
		h.end(Result{Outcome: Cancelled, ExitCode: -1, Reason: why, At: now}, now)
	case Leased:
		if h.CancelledAt.IsZero() {
			h.CancelledAt, h.CancelledBy = now, why
		}
	}
}

func (s Spec) validatePolicy() error {
	if s.Offline != OfflineWait && s.Offline != OfflineSkip {
		return Errorf(Invalid, "offline: %.20q is neither %q nor %q", s.Offline, OfflineWait, OfflineSkip)
	}
	if len(s.SupersedeKey) > MaxSupersedeKey {
		return Errorf(Invalid, "supersede_key: %d bytes, at most %d", len(s.SupersedeKey), MaxSupersedeKey)
	}
	if r, ok := unshowable(s.SupersedeKey); ok {
		return Errorf(Invalid, "supersede_key: contains %U, a control character", r)
	}
	if len(s.Recheck) > MaxRecheck {
		return Errorf(Invalid, "recheck: the selector has %d bytes, at most %d", len(s.Recheck), MaxRecheck)
	}
	if _, err := ParseSelector(s.Recheck); err != nil && s.Recheck != "" {
		return err
	}
	return nil
}

// isReason tells whether what is kept as who asked for a cancel is a reason already.
func isReason(by string) bool { return strings.HasPrefix(by, supersededBy) }
