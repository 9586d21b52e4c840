// Package redisqueue is the reference queue.Store: Redis 7.0 or later, or
// Valkey, standalone, under Sentinel, or as a cluster.
//
// # Keys
//
// Every key begins with the prefix of [Options] ("rexgate:"). Hosts are spread
// over 128 partitions by a hash of their id; {p} is the hash tag of a
// partition, one of 128 that lie evenly over the cluster's slots. All of a host
// is in one slot, so that one script changes its queue, records and
// counters together.
//
//	{p}:d                    hash    host/job -> execution, packed; none while it is planned
//	                                 s<job> -> what is fixed of a job: lane, times, number of targets here
//	                                 c<job> -> what moves: cursor of the expansion, control, counters, bytes
//	                                 <job>:<n> -> 128 state bytes, in order of the targets
//	                                 <host>/<scope> -> age and id of the newest job released there that shares a SupersedeScope
//	                                 last, service -> the queue.ServiceClock of the partition
//	{p}:jt:<job>             string  the targets, packed and frozen
//	{p}:own                  hash    host -> incarnation, revoked, deleted, duplicate, session, slots, what is in flight, when
//	                                 its poll is overdue, in service time
//	{p}:q:<host>             zset    what a host has queued, all scores 0. A member is a class (q queued, w waiting
//	                                 for not_before), the lane, 100-priority, the job's age, the job: so they
//	                                 sort in order of delivery
//	{p}:hosts, ver, facts    hash    host -> key and labels; their version; host -> facts
//	{p}:ses                  hash    host -> the rest of its session: since when, journal, process, agent
//	{p}:lease                zset    host/job by service time: ends of leases, and of silence
//	{p}:expiry, delayed      zset    host/job that is queued, by deliver_until; by not_before
//	{p}:ready                zset    <gateway> NUL <host>: hosts that a Lease would give something
//	{p}:gw                   hash    gateway -> until when it lives; NUL <gateway> -> the same in service time
//	{p}:drain                hash    hosts whose old executions a sweep goes on ending -> where in their queue
//	{p}:o:<host>/<job>       list    output segments of at most 64 KiB, each after the offsets at which it
//	                                 begins; output of up to 512 bytes is in the record instead
//	{jobs}:all               hash    job -> commit record: numbers of targets by partition, control
//	{jobs}:open, time        zset    jobs with something to expand; all jobs by age
//	{jobs}:idem, pending     hash    idempotency key -> job; submits under way
//	{jobs}:driver            hash    job -> who expands it
//	{jobs}:live, done, outs, outdel  zset  for retention: jobs that may not have ended; that have; of these
//	                                 those with output; whose output is being removed
//	{jobs}:sizes, totals, del, meta  hash  what ended jobs take; jobs being removed; numbers of this layout
//	job:{<job>}              hash    spec, script, and a copy of the targets for a partition that loses them
//	tok:<digest>             hash    hosts and keys that an enrolment token has enrolled
//	hints:<gateway>          sharded pub/sub channel, host ids
//
// Shared hashes take the place of keys per job where a script can't know before it runs
// which jobs it will meet: every key a script touches is declared, so that in a
// migrating slot it either runs whole or is refused whole (TRYAGAIN), and is repeated for that
// partition alone.
//
// A target's ordinal counts partition by partition. Values are MessagePack: executions, hosts and jobs of a
// partition are values one after the other, all else arrays; the fields are named in lua/common.lua, hosts.go and record.go.
//
// # Functions
//
// lua/ has them, each with its keys, arguments and answer. They are one library of Redis functions (FUNCTION LOAD,
// FCALL), named by the digest of its text, which Open loads on every master, and which is loaded again where it is
// missing. A script's text would run anew in each call, which took 20 us of it. They read and decide
// first and write at the end; Redis refuses them before
// they start where writing isn't possible (out of memory, read only,
// failed disk). They take their time from Redis. Every one may run twice: the client repeats
// what timed out.
//
// Calls to one partition that come together share a call of a function (lanes.go). Lease, Record and
// Expand do what is usual (one execution, nothing asked of it but the next step) without
// the tables that the general way makes; tests run the whole suite both ways.
//
// # Durability
//
// What is acknowledged is as durable as Redis' own setting makes it: with
// appendfsync always, fsynced; with everysec, safe from a killed Redis, and up to a
// second can be lost with the machine; with a failover, what the replica hadn't
// received is lost. Redis must not evict (maxmemory-policy noeviction), which Open checks.
//
// In a cluster each master loses its own. What was written together, in one slot, goes together; what was not, is
// rebuilt by whoever meets it, or by Reconcile (mend.go):
//
//	lost, while the commit record stays    what becomes of it
//	a partition's part of a job            planned anew, from the copy of the targets in job:{<job>}; delivered no later than
//	                                       max(submitted, not_before) + pickup_timeout, as long as hosts remember, and expired then
//	the release of a partition's targets   the job is on the list of open ones again, under the same bound
//	job:{<job>}                            nothing can be run or rebuilt: the job is removed
//	what an execution had come to          the hello says so: the host tells it again
//
// A host that has an execution in hand whose record is planned again, is told to forget its lease (stale_token), not what
// it did: it tells that when the execution is delivered again. Reads answer meanwhile: what is lost counts as planned.
//
// # Lock order
//
// No lock is held over I/O or another lock.
package redisqueue
