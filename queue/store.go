package queue

import (
	"context"
	"time"
)

// Store keeps everything that must survive: jobs, hosts, queues, executions,
// output. It is the only truth; what gateways hold in memory can be rebuilt
// from it.
//
// All verbs are safe for concurrent use, block until done or ctx ends, and
// may be applied twice (see the package comment). A ctx that ends leaves a
// verb either applied or not, never half, but for Expand, Cancel, Purge and Sweep, which
// work in steps and are finished by being called again.
//
// Errors are *Error. A store that can't be reached gives Unavailable; the verb may
// or may not have been applied.
type Store interface {
	Jobs
	Reader
	Hosts
	Sessions
	Hints
	Keeper
	// Close waits for running verbs, and releases everything. Verbs called later
	// give Unavailable.
	Close() error
}

// Jobs takes jobs in and ends them.
type Jobs interface {
	// Submit stores a job with its frozen targets, all planned, and returns when
	// it is durable. created is false if a job with this id, or this idempotency
	// key and the same digest, is already there: that job is returned. Errors:
	// Invalid; Conflict (the key was used with another digest); NotFound (a target
	// isn't an enrolled, unrevoked host at that incarnation; Items names up to 20); Full. A repeat
	// is answered before anything but its validity is judged. Nothing is stored with an error.
	Submit(ctx context.Context, job NewJob) (j Job, created bool, err error)

	// Repeat finds the job that was submitted under an idempotency key and digest, so that a repeat
	// needs no targets, which may have gone meanwhile. found is false if none was, or one is being submitted.
	// Errors: Conflict (the key was used with another digest).
	Repeat(ctx context.Context, key, digest string) (j Job, found bool, err error)

	// Expand releases up to max planned targets of a job: planned -> queued, or
	// -> cancelled where the job is cancelled, or where the host is revoked, deleted, or its incarnation
	// no longer the target's (WhyReenrolled). It also
	// finishes a Cancel that was cut. Where the host is offline, OfflineSkip ends it.
	//
	// Of jobs with one SupersedeScope each host has a newest one that was released there (Job.Newer), remembered until that
	// job is removed. Releasing a newer one makes it the newest, and withdraws (Held.Withdraw, WhySuperseded) the
	// execution of the one before; releasing an older one ends it in this way at once. So an older job never starts after a newer
	// one was released. What OfflineSkip ends at its release counts as released; what is cancelled for its job or its host doesn't.
	// driver names the caller: while one driver is active on a job,
	// others get Busy, until it has been silent for DriverTimeout. The store
	// sends the hints. Errors: NotFound.
	Expand(ctx context.Context, job JobID, driver string, max int) (Expansion, error)

	// Cancel ends the executions of a job: all, or those of the given hosts.
	// Planned and queued ones end at once; leased ones are flagged, never start,
	// and end when the lease lapses or accepted arrives; accepted and running
	// ones are flagged and get a numbered cancel message. The intent for a whole
	// job is durable first, so that Expand can finish it. Terminal executions
	// are left alone. by is stored as the reason's operator. Errors: NotFound (no such job; or a
	// host that is no target, in Items: then nothing is done).
	Cancel(ctx context.Context, job JobID, hosts []HostID, by string) (Cancellation, error)

	// Purge cancels what waits in a host's queue, of any job: queued ones end at once, leased ones are flagged; with
	// running, accepted and running ones are asked for too, as by Cancel. Planned ones aren't in the queue. The host may
	// be revoked or deleted. Errors: NotFound (never enrolled).
	Purge(ctx context.Context, host HostID, running bool, by string) (Cancellation, error)

	// OpenJobs lists jobs with planned targets or an unfinished cancel, oldest
	// first.
	OpenJobs(ctx context.Context, limit int) ([]JobID, error)
}

// Expansion is the answer of Expand.
type Expansion struct {
	Released int  // by this call
	Passed   int  // targets that this call came past without releasing them: ended by it, or before
	Done     bool // nothing is left to expand
	Busy     bool // another driver is on it; nothing was done
}

// Cancellation is the answer of Cancel.
type Cancellation struct {
	Cancelled int // ended by this call
	Asked     int // flagged by this call: ends with its lease, or when the host confirms
}

// Reader reads jobs and executions. Reads see all that was acknowledged
// before they were called. An unknown job gives NotFound, a limit, offset or cursor that is
// out of bounds Invalid (see Validate of the queries, ValidateLimit).
type Reader interface {
	// Job gives a job and its counters. Errors: NotFound.
	Job(ctx context.Context, id JobID) (JobStatus, error)
	// ListJobs lists jobs, newest first; next is "" at the end. A cursor is
	// stable: jobs that come meanwhile don't shift it.
	ListJobs(ctx context.Context, after string, limit int) (jobs []JobStatus, next string, err error)
	// Script gives a job's payload. Errors: NotFound.
	Script(ctx context.Context, id JobID) ([]byte, error)
	// Executions lists a job's executions; next is "" at the end.
	Executions(ctx context.Context, q ExecutionQuery) (xs []Execution, next string, err error)
	// Execution gives one. Errors: NotFound if the host is no target of the job.
	Execution(ctx context.Context, job JobID, host HostID) (Execution, error)
	// States gives one state byte per target; the ordinal is the index.
	States(ctx context.Context, job JobID) ([]byte, error)
	// Targets gives the targets from an ordinal on, at most limit.
	Targets(ctx context.Context, job JobID, from, limit int) ([]HostID, error)
	// HostQueue lists a host's executions that are not terminal and not planned,
	// in order of delivery: in flight first, then by lane, priority, age.
	HostQueue(ctx context.Context, host HostID, limit int) ([]Execution, error)
	// Situations tells what bears on when executions of a job go on, in the order of hosts: 1 to MaxPage targets. Each is
	// read in one atomic step. Errors: Invalid; NotFound (the job; or a host that is no target, in Items).
	Situations(ctx context.Context, job JobID, hosts []HostID) ([]Situation, error)
	// Output reads stored output; see OutputQuery. An empty answer means nothing
	// is stored there yet. A gap is a chunk of its own, at the offset where it happened: it takes no room in the
	// coordinates, and belongs to every stream. Errors: NotFound if the host is no target of the job.
	Output(ctx context.Context, q OutputQuery) ([]Chunk, error)
}

// Hosts keeps the managed machines.
type Hosts interface {
	// Enroll registers a host with its key and raises its incarnation. The same
	// host and key again under the same token is a repeat and changes nothing. A host that
	// exists with another key gives Conflict unless Replace; a token used up
	// gives Forbidden; a revoked host gives Forbidden unless Replace. Enrolling anew ends what was bound to the old
	// incarnation: queued executions are cancelled, accepted and running ones lost.
	Enroll(ctx context.Context, e Enrollment) (Host, error)
	// Host gives a host with its presence. Errors: NotFound.
	Host(ctx context.Context, id HostID) (Host, error)
	// ListHosts lists hosts by id; next is "" at the end.
	ListHosts(ctx context.Context, q HostQuery) (hosts []Host, next string, err error)
	// Select resolves a selector, or a list of ids (sel is ignored if ids is not
	// nil), to targets sorted by id, without revoked hosts when selecting. An id that is unknown or revoked
	// gives NotFound with Items.
	Select(ctx context.Context, sel Selector, ids []HostID) ([]Target, error)
	// Label changes labels. Errors: NotFound, Invalid.
	Label(ctx context.Context, id HostID, p LabelPatch) (Host, error)
	// Revoke bars a host, ends its session and its queue (as re-enrolling does). Undone only by
	// enrolling with Replace. Delete also removes the record; its executions stay
	// readable, and the numbers of its incarnation and session are remembered, so that a host enrolled under the
	// same id gets larger ones. Errors: NotFound; deleting what was deleted is a repeat.
	Revoke(ctx context.Context, id HostID) error
	DeleteHost(ctx context.Context, id HostID) error
	// ResolveDuplicate clears the duplicate mark and ends the session; the next claim wins, whoever's it is.
	ResolveDuplicate(ctx context.Context, id HostID) error
}

// Sessions is what carries work to hosts and their reports back.
type Sessions interface {
	// Claim makes a new session the owner of a host; [Held.Hello] is what it does
	// to each execution. Leases of the session before
	// that are not in hand (same execution and token) are released; the others are
	// carried over and renewed, for DefaultLeaseTTL. An execution that is accepted or running under
	// this generation with a Position up to the claim's, or under another
	// generation, and is not in hand, is lost.
	//
	// The hello of a generation that
	// differs from the owner's while the owner is online, or of a process that was
	// superseded by another process of the same generation longer than HelloTransit ago, gives Duplicate, marks the
	// host, and nothing is delivered to it until ResolveDuplicate: until then every Claim and Lease gives Duplicate, and
	// Record goes on. One that was superseded since may be dead, and its hello late: it is refused as Superseded.
	// A process is its Nonce; "" is none and never judged. The store may remember only the last few.
	// Errors: Invalid, NotFound,
	// Superseded (so, or the incarnation isn't the host's), Forbidden (revoked),
	// Duplicate.
	//
	// Applied twice it makes two sessions, of which the first is superseded at once.
	Claim(ctx context.Context, c Claim) (Claimed, error)

	// Release ends a session: its unaccepted leases go back to the queue. A
	// session that is no longer the owner is ignored.
	Release(ctx context.Context, host HostID, session int64) error

	// Lease gives what the session holds and, into free slots (SlotsIn), new work: by
	// lane (CompareLanes), priority, age of the job. What would be leased anew to a host whose labels don't match
	// Spec.Recheck is withdrawn instead (WhyUnselected). Nothing past its DeliverUntil or before its NotBefore is
	// leased, swept or not. Leases aren't renewed by it. It never blocks for work. Errors:
	// Superseded (not the owner), Duplicate, Forbidden (revoked).
	Lease(ctx context.Context, f Fetch) (Fetched, error)

	// Record stores events of one host and gives an ack per execution named, in
	// order of first mention; [Held.Record] is what it does to each. Events at or below what is stored are acknowledged
	// again (a gap counts by its Seq); events beyond the next are not applied. An event for an execution
	// of another host gives Forbidden, one that Event.Validate refuses Invalid, and nothing of the batch is applied. Events
	// under an incarnation that isn't the host's give Superseded, and so do those of a Session before the host's current one: they may have waited while the
	// host lost its power, and what it remembers since may go on differently under the same numbers; what counts is sent again. A revoked host gives Forbidden,
	// an unknown or deleted one NotFound. Event 1, accepted or rejected,
	// is checked against the lease token, and only it; afterwards the generation fences.
	//
	// accepted is stored once: from a flagged lease, or past DeliverUntil, it ends the execution and gives
	// VerdictForget. Repeated, it gives VerdictGo again while the execution is accepted or running (VerdictNone under
	// another token than it was accepted under: no second copy of a journal starts it), VerdictCancel once
	// a cancel was asked for, VerdictForget if it was lost with nothing stored beyond it: it must not be started any more.
	// What the host has no record for in the store gives VerdictForget, "unknown".
	//
	// New events of an ended execution: after lost they are kept, and the result is marked late; otherwise, and after a late
	// result, they give VerdictForget. The event that ends an execution gives
	// VerdictNone: the host keeps it for a while, in case the store goes back.
	// finished makes its lane's slot free. Output beyond Spec.OutputBound is acknowledged and counted as
	// Dropped, not stored.
	// Record returns when the events are durable; it gathers concurrent calls
	// into one commit.
	Record(ctx context.Context, h HostEvents) ([]Ack, error)
}

// Hint says: re-read these hosts. No hosts: re-read all of yours (after a
// resubscription).
type Hint struct {
	Hosts []HostID
	// Again: the way to the store had broken, and it may have gone back: what it acknowledged last may be lost. Hosts is
	// empty then.
	Again bool
}

// Hints tells gateways which hosts to look at. Lossy; verbs that give a host
// something to look at (work, a cancel, another owner, revocation) send it themselves.
type Hints interface {
	// Subscribe calls fn with hints for the gateway's hosts until ctx ends, after a
	// first call with an empty Hint. fn must not block for long. It returns ctx's
	// error, or Unavailable after it has given up reconnecting.
	Subscribe(ctx context.Context, gateway string, fn func(Hint)) error
	// Ready lists up to limit hosts owned by the gateway that have work and a free slot or a
	// message not yet leased. It is the truth behind the hints.
	Ready(ctx context.Context, gateway string, limit int) ([]HostID, error)
	// Alive says that the gateway lives, for ttl. Its socket hosts are online
	// meanwhile.
	Alive(ctx context.Context, gateway string, ttl time.Duration) error
}

// Keeper does what time does.
type Keeper interface {
	// Sweep ticks the service clock and applies what is due: lapsed leases, expiries,
	// not_before, silence, retention; at most budget executions. Any number of
	// gateways may sweep at once. More says that budget ended it.
	Sweep(ctx context.Context, budget int, r Retention) (Swept, error)
	// Reconcile checks counters, state bytes, slots and indexes of up to budget
	// jobs against their records, and repairs them. Returns one line for each difference.
	Reconcile(ctx context.Context, budget int) (repairs []string, err error)
	// Now is the store's clock.
	Now(ctx context.Context) (time.Time, error)
	// Room tells how full the store is, in bytes; limit 0 = not bounded.
	Room(ctx context.Context) (used, limit int64, err error)
}

// Retention bounds what is kept of jobs whose executions have all ended; zero
// values bound nothing. Age counts from a job's end; oldest end goes first.
type Retention struct {
	OutputAge   time.Duration
	RecordAge   time.Duration // the job with its script, executions, output and idempotency key
	OutputBytes int64         // of output
	RecordBytes int64         // of scripts and executions, as the store estimates them
}

// Swept counts what a sweep did.
type Swept struct {
	Lapsed  int // leases returned to their queue
	Expired int
	Due     int // not_before reached
	Skipped int // not_before reached, and the host is offline (OfflineSkip)
	Lost    int // by silence
	Ended   int // flagged leased executions that were cancelled or expired
	Deleted int // jobs removed, or their output
	More    bool
}
