// Package session holds the sessions of one gateway: what comes from a host is
// recorded in the store and acknowledged, what the store has for it is leased
// and delivered. There is no HTTP in it: package gateway/socket carries a
// session over a WebSocket, package poll over requests.
//
// # States of an attachment
//
// A [Session] is a socket's attachment. A polling host has none: its session is
// in the store alone, and each of its requests is a call on the [Hub].
//
//	      Attach              hello{standby}
//	---------------> fresh -------------------> standby
//	                   |                           |
//	             hello |                      take |
//	                   v                           |
//	                claiming <---------------------'
//	                   |    store.Claim: welcome
//	                   v
//	                active: events -> Record -> ack; Lease -> job, cancel
//	                   |    (take: claiming again)
//	                   v
//	any of these ---> closing ---> gone: what came is recorded, Release
//
// Closing has a code that tells the host whether to come back: malformed or
// foreign messages, more than the credit, a newer session, silence, expiry of
// the token, drain, [Hub.Kick].
//
// # Guarantees
//
//   - Nothing is acknowledged before the store has it.
//   - Messages to a host go out in the order of their numbers, and none twice on
//     one connection. Events are recorded in the order in which they came.
//   - A session's work is done by one turn at a time. A turn takes all that is
//     due, calls the store once per kind, and writes few frames.
//   - The reader of a connection never waits for the store or for a write:
//     Receive decodes and queues. What is queued is bounded by the credit that
//     the host was given.
//   - While the store is away, sessions stay; their turns are parked and tried
//     again with backoff, a few at first. Nothing is lost: what isn't acknowledged is with
//     the host, what isn't delivered is in the store.
//   - Sessions are bounded, those included that have gone and wait: who leaves without a welcome leaves
//     the line of parked ones at once; a claimed one stays in it until it could be released.
//   - A connection that doesn't read holds no store work up: a turn writes
//     outside of the bound on store calls.
//   - Hints may be lost: the store's ready set is read every 15 to 30 s.
//
// # Lock order
//
// Hub.mu (who is attached) and Session.mu (one session's inbox and flags) are
// never held together. Under either, only leaves are taken: the locks of the
// turn queue, the parking, the caches. No lock is held over a call of the
// store, of a Conn, or of a callback.
package session
