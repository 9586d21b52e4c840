package queue

import (
	"crypto/ed25519"
	"maps"
	"slices"
	"time"
)

// Host is a managed machine.
type Host struct {
	ID          HostID
	Incarnation int64             // raised by each enrolment; what is bound to an older one is void
	Labels      map[string]string // set at enrolment or by an operator; what selectors match
	Facts       map[string]string // self-reported; never used to select or authorise
	PublicKey   ed25519.PublicKey // empty = no key
	EnrolledAt  time.Time
	Revoked     bool
	Presence    Presence
}

// Transport is what carries a session.
type Transport string

// The transports.
const (
	TransportSocket Transport = "socket"
	TransportPoll   Transport = "poll"
)

// Presence is what the store knows of a host's session.
type Presence struct {
	// Online: a socket's gateway is alive and holds it; a poll isn't overdue.
	Online    bool
	Transport Transport
	Gateway   string    // that holds the session, or served its last poll
	Session   int64     // epoch of the session; 0 = never had one
	Since     time.Time // when the session was claimed, or ended if not online
	// Due is when a polling host is overdue; zero for a socket.
	Due          time.Time
	AgentVersion string
	BootID       string
	Generation   string
	Slots        map[Lane]int
	// DuplicateSince is set while two machines claim this identity.
	DuplicateSince time.Time
}

// Enrollment is the input of Enroll.
type Enrollment struct {
	Host      HostID
	PublicKey ed25519.PublicKey
	Labels    map[string]string
	// Replace allows a host that exists with another key to be enrolled anew.
	Replace bool
	// Token and Uses bound how many different (host, key) pairs a token may
	// enrol. Uses 0 = no bound. The store forgets a token's uses at Expires.
	Token   string
	Uses    int
	Expires time.Time
}

// Validate tells what is wrong with the enrolment, whatever is stored.
func (e *Enrollment) Validate() error {
	if err := e.Host.Validate(); err != nil {
		return err
	}
	if n := len(e.PublicKey); n != 0 && n != ed25519.PublicKeySize {
		return Errorf(Invalid, "public key: %d bytes, an Ed25519 key has %d", n, ed25519.PublicKeySize)
	}
	return ValidateLabels(e.Labels)
}

// LabelPatch changes a host's labels: Set wins over Remove.
type LabelPatch struct {
	Set    map[string]string
	Remove []string
}

// ValidateLabels tells what is wrong with a set of labels.
func ValidateLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return Errorf(Invalid, "labels: %d, at most %d", len(labels), MaxLabels)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if err := validateLabelKey(k); err != nil {
			return err
		}
		if err := validateLabelValue(labels[k]); err != nil {
			return err
		}
	}
	return nil
}

// HostQuery selects hosts for a listing, ordered by id.
type HostQuery struct {
	Selector Selector // zero value = all
	Online   *bool
	After    string // cursor from the page before; "" = from the start
	Limit    int    // 1 to 1000
}
