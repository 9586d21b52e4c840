package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
	"unicode"
)

// Spec says how a job's script runs. The script itself is the job's payload.
type Spec struct {
	Name          string            // shown to people; may be empty
	User          string            // account to run as; "" = the agent's own
	Env           map[string]string // added to the agent's minimal environment
	Dir           string            // working directory, absolute; "" = the user's home
	Lane          Lane
	Priority      int           // MinPriority to MaxPriority, higher first
	NotBefore     time.Time     // zero = at once
	PickupTimeout time.Duration // from release (or not_before, if later) to accepted
	RunTimeout    time.Duration // on the host; mandatory
	OutputLimit   int64         // bytes kept; beyond it output is counted and dropped
	Grace         time.Duration // between TERM and KILL
	Offline       OfflinePolicy // what becomes of it on a host that is offline
	// SupersedeKey: on each host the newest job of an operator with this key replaces those before that still
	// wait there (see Jobs.Expand); "" = none.
	SupersedeKey string
	// Recheck is a selector that the host's labels must still match when the execution is delivered; "" = none.
	Recheck string
}

// WithDefaults fills what is unset.
func (s Spec) WithDefaults() Spec {
	if s.Lane == "" {
		s.Lane = LaneDefault
	}
	if s.PickupTimeout == 0 {
		s.PickupTimeout = DefaultPickupTimeout
	}
	if s.RunTimeout == 0 {
		s.RunTimeout = DefaultRunTimeout
	}
	if s.OutputLimit == 0 {
		s.OutputLimit = DefaultOutput
	}
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	if s.Offline == "" {
		s.Offline = OfflineWait
	}
	return s
}

// OutputBound is how many bytes of output, gaps included, a store keeps of an
// execution. The host holds the limit, and counts what is beyond it; this is for one that doesn't.
func (s Spec) OutputBound() int64 {
	if s.OutputLimit <= 0 {
		return DefaultOutput + OutputSlack
	}
	return s.OutputLimit + OutputSlack
}

// Validate tells what is wrong with the spec, after WithDefaults.
func (s Spec) Validate() error {
	if r, ok := unshowable(s.Name); ok {
		return Errorf(Invalid, "name: contains %U, a control character", r)
	}
	env := 0
	for k, v := range s.Env {
		if r, ok := unshowable(k); ok {
			return Errorf(Invalid, "env: the name %.60q contains %U, a control character", k, r)
		}
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return Errorf(Invalid, "env: %.60q is not a usable variable (empty name, '=' in the name, or a NUL)", k)
		}
		env += len(k) + len(v) + 2 + 5*(controls(k)+controls(v))
	}
	switch {
	case len(s.Name) > MaxName:
		return Errorf(Invalid, "name: %d bytes, at most %d", len(s.Name), MaxName)
	case env > MaxEnv:
		return Errorf(Invalid, "env: %d bytes, at most %d", env, MaxEnv)
	case s.Dir != "" && !strings.HasPrefix(s.Dir, "/"):
		return Errorf(Invalid, "dir: %.100q is not absolute", s.Dir)
	case strings.ContainsRune(s.Dir, 0) || strings.ContainsRune(s.User, 0) || len(s.Dir) > 4096 || len(s.User) > 256:
		return Errorf(Invalid, "dir or user: contains a NUL or is too long")
	case s.Priority < MinPriority || s.Priority > MaxPriority:
		return Errorf(Invalid, "priority: %d is not within %d to %d", s.Priority, MinPriority, MaxPriority)
	case s.PickupTimeout < time.Second || s.PickupTimeout > MaxPickupTimeout:
		return Errorf(Invalid, "pickup_timeout: %v is not within 1s to %v", s.PickupTimeout, MaxPickupTimeout)
	case s.RunTimeout < time.Second || s.RunTimeout > MaxRunTimeout:
		return Errorf(Invalid, "run_timeout: %v is not within 1s to %v", s.RunTimeout, MaxRunTimeout)
	case s.OutputLimit < 0 || s.OutputLimit > MaxOutput:
		return Errorf(Invalid, "output_limit: %d is not within 0 to %d", s.OutputLimit, MaxOutput)
	case s.Grace < 0 || s.Grace > MaxGrace:
		return Errorf(Invalid, "grace: %v is not within 0 to %v", s.Grace, MaxGrace)
	}
	if err := s.validatePolicy(); err != nil {
		return err
	}
	return s.Lane.Validate()
}

// unshowable finds a character that makes a name look like something else, or
// moves a terminal's cursor.
func unshowable(name string) (rune, bool) {
	for _, r := range name {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return r, true
		}
	}
	return 0, false
}

// controls counts the control characters that JSON writes in six bytes. They
// count as that many, since a job has to fit one message of the wire.
func controls(s string) (n int) {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\n' && s[i] != '\t' && s[i] != '\r' {
			n++
		}
	}
	return n
}

// ValidateScript tells what is wrong with a script.
func ValidateScript(script []byte) error {
	if len(script) == 0 {
		return Errorf(Invalid, "script: empty; give the text of the script to run")
	}
	if len(script) > MaxScript {
		return Errorf(Invalid, "script: %d bytes, at most %d; fetch large data from within the script", len(script), MaxScript)
	}
	return nil
}

// ScriptDigest is the SHA-256 of a script in lower-case hex.
func ScriptDigest(script []byte) string {
	sum := sha256.Sum256(script)
	return hex.EncodeToString(sum[:])
}

// Job is what an operator submitted. It never changes, but for Control.
type Job struct {
	ID           JobID
	Spec         Spec
	ScriptSize   int64
	ScriptSHA256 string // hex
	CreatedAt    time.Time
	CreatedBy    string // operator's subject
	RerunOf      JobID  // "" = not a re-run
	Selection    string // how the targets were chosen, for people: a selector, "all", or "hosts"
	Targets      int    // number of targets
	Control      Control
}

// Control says whether a job may go on.
type Control string

// The controls of a job.
const (
	Active         Control = "active"
	ControlPaused  Control = "paused"
	ControlStopped Control = "cancelled"
)

// Target is a host frozen into a job, at the incarnation it had then.
type Target struct {
	Host        HostID
	Incarnation int64
}

// NewJob is the input of Submit.
type NewJob struct {
	Job            Job // ID made by the caller with NewJobID; CreatedAt, Targets, Control set by the store
	Script         []byte
	Targets        []Target // 1 to MaxTargets, no host twice
	IdempotencyKey string   // "" = none; scoped by the caller to the operator
	Digest         string   // of the request, compared when the key is used again
}

// Validate tells what is wrong with the input of Submit.
func (n *NewJob) Validate() error {
	if err := n.Job.ID.Validate(); err != nil {
		return err
	}
	if err := n.Job.Spec.Validate(); err != nil {
		return err
	}
	if err := ValidateScript(n.Script); err != nil {
		return err
	}
	if len(n.Targets) == 0 || len(n.Targets) > MaxTargets {
		return Errorf(Invalid, "targets: %d hosts, 1 to %d are possible", len(n.Targets), MaxTargets)
	}
	if len(n.IdempotencyKey) > MaxIdempotencyKey {
		return Errorf(Invalid, "idempotency key: %d bytes, at most %d", len(n.IdempotencyKey), MaxIdempotencyKey)
	}
	seen := make(map[HostID]struct{}, len(n.Targets))
	for _, t := range n.Targets {
		if err := t.Host.Validate(); err != nil {
			return err
		}
		if _, ok := seen[t.Host]; ok {
			return &Error{Code: Invalid, Message: "targets: host " + string(t.Host) + " is named twice", Items: []string{string(t.Host)}}
		}
		seen[t.Host] = struct{}{}
	}
	return nil
}

// JobStatus is a job with its counters, read in one atomic step per partition.
type JobStatus struct {
	Job
	Counters   Counters
	FinishedAt time.Time // zero while an execution is not terminal
}
