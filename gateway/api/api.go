// Package api holds the JSON types of the operators' HTTP API, shared by the
// server and the Go SDK. Durations are Go's syntax ("90s", "24h"), times RFC 3339,
// sizes bytes. docs and the OpenAPI file describe the routes.
package api

import (
	"fmt"
	"time"
)

// Duration is a time.Duration in JSON as a string.
type Duration time.Duration

// MarshalText gives Go's syntax.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's syntax.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration like 90s or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// JobRequest is the body of POST /v1/jobs. Exactly one of Script and
// ScriptBase64, and exactly one of Hosts, Selector and All is set; the rest has
// defaults.
type JobRequest struct {
	Name          string            `json:"name,omitempty"`
	Script        string            `json:"script,omitempty"`
	ScriptBase64  []byte            `json:"script_b64,omitempty"`
	Hosts         []string          `json:"hosts,omitempty"`
	Selector      string            `json:"selector,omitempty"`
	All           bool              `json:"all,omitempty"`
	User          string            `json:"user,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Dir           string            `json:"dir,omitempty"`
	Lane          string            `json:"lane,omitempty"`
	Priority      int               `json:"priority,omitempty"`
	NotBefore     *time.Time        `json:"not_before,omitempty"`
	PickupTimeout Duration          `json:"pickup_timeout,omitempty"`
	RunTimeout    Duration          `json:"run_timeout,omitempty"`
	OutputLimit   int64             `json:"output_limit,omitempty"`
	Grace         Duration          `json:"grace,omitempty"`
	// Offline is "wait" (the default) or "skip": on hosts that are offline when it becomes due it is cancelled.
	Offline string `json:"offline,omitempty"`
	// SupersedeKey: this job replaces the caller's jobs before it with the same key where they still wait.
	SupersedeKey string `json:"supersede_key,omitempty"`
	// Recheck: the selector is looked at again at each delivery. Only with Selector.
	Recheck bool `json:"recheck,omitempty"`
}

// Counters counts executions by the name of their state; all states are
// present.
type Counters map[string]int

// Job is a job and how far it is.
type Job struct {
	ID            string            `json:"id"`
	Name          string            `json:"name,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
	CreatedBy     string            `json:"created_by"`
	RerunOf       string            `json:"rerun_of,omitempty"`
	Selection     string            `json:"selection"` // a selector, "all", or "hosts"
	Targets       int               `json:"targets"`
	Control       string            `json:"control"`              // active, paused, cancelled
	Script        string            `json:"script,omitempty"`     // only when one job is asked for with ?script=true
	ScriptBase64  []byte            `json:"script_b64,omitempty"` // instead, where it isn't UTF-8
	ScriptSize    int64             `json:"script_size"`
	ScriptSHA256  string            `json:"script_sha256"`
	User          string            `json:"user,omitempty"`
	Env           map[string]string `json:"env,omitempty"`
	Dir           string            `json:"dir,omitempty"`
	Lane          string            `json:"lane"`
	Priority      int               `json:"priority"`
	NotBefore     *time.Time        `json:"not_before,omitempty"`
	PickupTimeout Duration          `json:"pickup_timeout"`
	RunTimeout    Duration          `json:"run_timeout"`
	OutputLimit   int64             `json:"output_limit"`
	Grace         Duration          `json:"grace"`
	Offline       string            `json:"offline"`
	SupersedeKey  string            `json:"supersede_key,omitempty"`
	Recheck       string            `json:"recheck,omitempty"` // the selector that is looked at again
	Counters      Counters          `json:"counters"`
	Outstanding   int               `json:"outstanding"` // not ended yet
	Done          int               `json:"done"`        // ended
	Failed        int               `json:"failed"`      // of these, ended as a failure
	FinishedAt    *time.Time        `json:"finished_at,omitempty"`
}

// JobList is a page of jobs, newest first.
type JobList struct {
	Jobs []Job  `json:"jobs"`
	Next string `json:"next,omitempty"` // ?after= of the next page
}

// Result is how an execution ended.
type Result struct {
	Outcome  string    `json:"outcome"`
	ExitCode int       `json:"exit_code"` // -1 if it didn't exit
	Signal   string    `json:"signal,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// Output sums up what is stored of an execution's output.
type Output struct {
	Stdout  int64 `json:"stdout"`
	Stderr  int64 `json:"stderr"`
	Dropped int64 `json:"dropped,omitempty"` // beyond the limit: truncated
	Gap     int64 `json:"gap,omitempty"`     // lost on the way
	Deleted bool  `json:"deleted,omitempty"` // by retention
}

// Execution is one job on one host.
type Execution struct {
	ID           string     `json:"id"`
	Job          string     `json:"job"`
	Host         string     `json:"host"`
	Ordinal      int        `json:"ordinal"`
	State        string     `json:"state"`
	Lane         string     `json:"lane"`
	Priority     int        `json:"priority"`
	Deliveries   int        `json:"deliveries"`
	ReleasedAt   *time.Time `json:"released_at,omitempty"`
	NotBefore    *time.Time `json:"not_before,omitempty"`
	DeliverUntil *time.Time `json:"deliver_until,omitempty"`
	LeasedAt     *time.Time `json:"leased_at,omitempty"`
	AcceptedAt   *time.Time `json:"accepted_at,omitempty"`
	StartedAt    *time.Time `json:"started_at,omitempty"`
	FinishedAt   *time.Time `json:"finished_at,omitempty"`
	CancelledAt  *time.Time `json:"cancelled_at,omitempty"`
	Result       *Result    `json:"result,omitempty"` // once ended
	Late         *Result    `json:"late,omitempty"`   // what arrived after it had ended
	Output       Output     `json:"output"`
	Why          *Why       `json:"why,omitempty"` // of what hasn't ended; in lists only where asked for
}

// Why says why an execution hasn't ended yet.
type Why struct {
	Code   string     `json:"code"` // see queue.WaitCode
	Text   string     `json:"text"` // one sentence
	Since  *time.Time `json:"since,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Behind string     `json:"behind,omitempty"` // the job that it waits for on its host
	Ahead  int        `json:"ahead,omitempty"`  // executions that come first
}

// ExecutionList is a page of executions, by ordinal.
type ExecutionList struct {
	Executions []Execution `json:"executions"`
	Next       string      `json:"next,omitempty"`
}

// TargetList is a page of a job's targets: the hosts with the ordinals From,
// From+1, ..., which are also the indexes of their bytes in the job's states.
type TargetList struct {
	From  int      `json:"from"`
	Hosts []string `json:"hosts"` // fewer than the limit only at the end
	Total int      `json:"total"` // of the job
}

// Selection names executions of a job for cancel and rerun: by host or by the labels that
// hosts have now, by state, or both. Empty = all.
type Selection struct {
	Hosts    []string `json:"hosts,omitempty"`
	Selector *string  `json:"selector,omitempty"` // not together with Hosts; never empty: that may be a variable that wasn't set
	States   []string `json:"states,omitempty"`
}

// Cancellation answers a cancel.
type Cancellation struct {
	Cancelled int `json:"cancelled"` // ended by this call
	Asked     int `json:"asked"`     // will be confirmed by their hosts
}

// PurgeRequest is the body of POST /v1/hosts/{id}/purge, which cancels what waits in a host's queue, and is answered
// with a Cancellation.
type PurgeRequest struct {
	Running bool `json:"running,omitempty"` // also what the host has accepted or runs
}

// Host is a managed machine.
type Host struct {
	ID             string            `json:"id"`
	Incarnation    int64             `json:"incarnation"`
	Labels         map[string]string `json:"labels"`
	Facts          map[string]string `json:"facts,omitempty"` // as the host says; don't trust
	EnrolledAt     time.Time         `json:"enrolled_at"`
	Revoked        bool              `json:"revoked,omitempty"`
	Online         bool              `json:"online"`
	Transport      string            `json:"transport,omitempty"`
	Gateway        string            `json:"gateway,omitempty"`
	Since          *time.Time        `json:"since,omitempty"`
	PollDue        *time.Time        `json:"poll_due,omitempty"`
	AgentVersion   string            `json:"agent_version,omitempty"`
	DuplicateSince *time.Time        `json:"duplicate_since,omitempty"`
}

// HostList is a page of hosts, by id.
type HostList struct {
	Hosts []Host `json:"hosts"`
	Next  string `json:"next,omitempty"`
}

// HostPatch is the body of PATCH /v1/hosts/{id}. A label of null is removed.
type HostPatch struct {
	Labels map[string]*string `json:"labels,omitempty"`
	// ResolveDuplicate clears the duplicate mark.
	ResolveDuplicate bool `json:"resolve_duplicate,omitempty"`
}

// EnrollTokenRequest is the body of POST /v1/tokens/enroll.
type EnrollTokenRequest struct {
	// Hosts is a shell pattern of allowed ids; "" = "*".
	Hosts  string            `json:"hosts,omitempty"`
	Labels map[string]string `json:"labels,omitempty"` // that the hosts get
	Uses   int               `json:"uses,omitempty"`   // 0 = 1; -1 = no bound
	TTL    Duration          `json:"ttl,omitempty"`    // 0 = 1 h; at most 30 days
	// Replace allows hosts that exist to be enrolled anew.
	Replace bool `json:"replace,omitempty"`
	// URL of the gateway as hosts reach it; "" = the gateway's own setting.
	URL string `json:"url,omitempty"`
}

// EnrollToken answers it.
type EnrollToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// IdempotencyKey is the header of POST /v1/jobs and POST /v1/jobs/{id}/rerun that
// makes a repeated request give the job that the first one made.
const IdempotencyKey = "Idempotency-Key"

// Headers of an execution's output: in the header for what is stored when the
// answer begins, and in the trailer for what is stored when it ends.
const (
	OutputState     = "Rexgate-State"     // of the execution
	OutputTruncated = "Rexgate-Truncated" // bytes beyond the output limit, left out; absent = none
	OutputGap       = "Rexgate-Gap"       // bytes lost on the way; absent = none
)

// Problem is an RFC 9457 problem document; every error answer is one.
type Problem struct {
	Type   string   `json:"type"` // "urn:rexgate:problem:" + Code
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Detail string   `json:"detail"`          // what, where, and what to do
	Code   string   `json:"code"`            // as in queue.Code, or unauthenticated, rate_limited, ...
	Items  []string `json:"items,omitempty"` // offending names, at most 20
	// Time is the gateway's clock, Unix milliseconds; with the code token_time.
	Time int64 `json:"time,omitempty"`
}

// Error makes a Problem an error.
func (p *Problem) Error() string { return p.Detail }

// ProblemType is the media type of problem documents.
const ProblemType = "application/problem+json"

// Scopes of operators' tokens.
const (
	ScopeJobsSubmit = "jobs:submit"
	ScopeJobsRead   = "jobs:read"
	ScopeJobsCancel = "jobs:cancel"
	ScopeOutputRead = "output:read"
	ScopeHostsRead  = "hosts:read"
	ScopeHostsAdmin = "hosts:admin"
	ScopeAuditRead  = "audit:read"
)
