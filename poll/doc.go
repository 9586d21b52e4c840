// Package poll carries sessions over HTTP requests, for hosts that can't hold a
// socket. Routing and authentication are the caller's.
//
// # The way of a session
//
//	POST messages: hello --> welcome                  the store claims the host
//	GET  poll: session, after=N, wait --> messages    the store leases; held while there is nothing
//	POST messages: session, events --> acks           the store records
//
//	             hello                    409 superseded, duplicate
//	  (none) ------------> polling --------------------------------> say hello
//	                        |   ^
//	            200, 204    |   |  after Retry-After
//	                        '---'
//
// The state of a session is in the store: any gateway answers any request of it,
// and so this package keeps nothing that a host would miss, but for the slot of its
// next poll.
//
// # Guarantees
//
//   - A poll that is repeated with the same after gives the same messages, at once.
//   - Work that comes while a poll is held answers it. The poll registers for
//     hints before it asks the store, so that nothing comes between.
//   - A cut connection frees the place of its poll.
//   - Acks mean that the store has the events. One POST of a host is served at a
//     time; another meanwhile gets 429.
//   - Every answer to a poll has Retry-After, errors too, and no answer is kept by
//     caches.
//
// # The pace of polls
//
// A [Schedule] admits a set number of polls a second and gives each host its next
// slot, MinInterval after its poll or later; a host that comes early gets the same slot again. The
// interval thereby adapts to the number of pollers, and arrivals are even. It may become longer
// than MaxInterval: the rate wins, and [Stats] tell. A held poll uses up its interval while it waits.
//
// Sooner than that slot come: a host for which messages wait that fit its free slots,
// at once; a host with work in hand, after 10 s at most; and one that has
// just said hello, got work or ended some, after a second as long as a quarter of the
// rate allows.
//
// # Lock order
//
// Schedule.mu and Server.mu are leaves. None is held over a call of the hub or a
// write.
package poll
