// Package sqlitequeue is the embedded queue.Store: one SQLite file for one
// process. It needs nothing installed, and a person can read the file with the
// sqlite3 shell: the files in schema have a comment for what isn't plain, and the views jobs,
// executions, hosts and newest_jobs show names for numbers.
//
// # The file
//
// WAL, synchronous=FULL: what was acknowledged survives the death of the process
// and of the machine. Beside Path lie Path-wal and Path-shm, which belong to it while
// it is open or after a crash, and Path-lock, by which a second process is
// refused. A backup is made with the shell's .backup, also while it is in use;
// nothing but the store may write it meanwhile.
//
// # One writer
//
// All changes go through one goroutine, which takes what waits (up to 1,024
// verbs) into one transaction and acknowledges after its commit. Nothing waits for a
// batch to fill: while one is being committed the next gathers. Verbs check before they
// change, so one that is refused doesn't disturb the others; after a failure
// the verbs of the batch run again, each alone. What touches many executions goes in steps
// of some hundred, between which others pass.
//
// Nobody else writes the file, so the writer keeps what it has read of jobs,
// hosts and sessions, and counters change in memory during a batch and are written once a
// job and commit. A rollback forgets all that is kept.
//
// Reads have connections of their own; in WAL mode they neither wait for the
// writer nor hold it up, and see all that was committed before they began. State bytes of the jobs
// that were asked for last are kept in memory and follow each commit.
//
// # Places
//
// An execution that is queued or in flight has a turn in its host's lane (one
// partial index gives a host's slots, queue and order), and a time at which the
// sweep must look at it: wake_at on the store's clock, lapse_at in service time. They
// follow from the state by one function (row.places), and Reconcile compares them.
//
// # Policies
//
// Expand releases a range of targets by one statement; only a job that skips hosts which are
// offline, or supersedes others, is released host by host. A job's supersede key is a number in supersede_key, and newest has
// a row for each key and host, which goes with its job. What a job with a policy costs, jobs without one don't pay.
// Gateways and polls have a second deadline, in service time, by which a host counts as offline where it is skipped.
//
// # Locks
//
// The mutexes (Store.mu, hub, submits, readers, stateCache) are leaves: none is
// held over I/O, a callback, or another.
//
// # Choices, measured
//
// On a 2-core machine, per row, batches of 500, prepared statements; "lease" is a
// select and two updates:
//
//	driver                                  insert   lease   stripped binary
//	modernc.org/sqlite by database/sql      6.2 us   24 us   6.6 MB
//	zombiezen.com/go/sqlite (on modernc)    4.1 us   15 us   6.2 MB
//
// The engine is the same; the difference is database/sql. A savepoint for each verb
// doubled the cost of an insert (13 to 28 us on a busy machine), since each copies the pages that it
// touches. A checkpoint every 4,000 pages instead of every 20,000 cost 12 us a lease where hosts
// come in random order. SQLite compiles a statement again for each value of a parameter in LIMIT, or
// compared in a query over a partial index: see sql.go.
//
// BenchmarkJob takes a job of 100,000 hosts through its stages with 500 callers;
// a Record has all four events of an instant script:
//
//	stage      a second   CPU time of each, callers included
//	submit      280,000    4 us
//	expand      198,000    5 us
//	lease        44,000   25 us
//	record       41,000   30 us
//
// All state bytes of that job take 41 ms when first asked for, then 0.02 ms.
package sqlitequeue
