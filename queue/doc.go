// Package queue is the domain: jobs, executions, hosts, their states, and the
// Store contract that keeps them.
//
// # States of an execution
//
// An execution is one job on one host. It moves along these arrows and no
// other; [CanMove] is the same table as code.
//
//	from                to                        by        when
//	-                   planned                   store     job submitted; no record yet
//	planned             queued                    expander  released
//	queued              leased                    session   delivered to the host with a token
//	leased              queued                    store     lease lapsed; session replaced or gone before accepted
//	leased              accepted                  host      the agent journalled it; the token is checked here only
//	accepted            running                   host      the script was started
//	accepted, running   succeeded failed timed_out host     exit 0; other exit or signal; run_timeout reached on the host
//	planned, queued     cancelled expired         operator, store  at once
//	leased              cancelled expired         store     flagged; ends when the lease lapses or when accepted arrives
//	accepted, running   cancelled                 host      the agent confirms that the process group is gone
//	leased, accepted    rejected                  host      signature, policy, unknown user
//	accepted, running   lost                      store     evidence: the host came back without it; or silence
//
// Terminal states never change. What arrives later is kept and marked late.
//
// # Guarantees of a Store
//
//   - A nil error means durable as far as the store's persistence setting goes.
//   - Every verb may be applied twice with the same arguments: the second time
//     changes nothing and gives an equivalent answer.
//   - All state of one host changes atomically. Two verbs on one host are
//     serialized; verbs on different hosts are not ordered.
//   - Counters and state bytes change in the same atomic step as the record.
//   - The store's clock, not the caller's, decides deadlines.
//   - Hints are lossy, and nothing depends on one: the store is re-read behind
//     them.
//
// # Clocks
//
// not_before and pickup_timeout are wall-clock times of the store. Lease and
// silence deadlines are in service time (see [ServiceClock]), which stands
// still while nothing sweeps, so that an outage marks nothing lapsed or lost.
//
// # Lock order
//
// The package has no locks. A store's own locks are leaves: no callback runs
// and no hint is sent while one is held.
package queue
