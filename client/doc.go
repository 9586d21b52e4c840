// Package client is the host's side of a session: it keeps one alive over the
// socket, or over the poll where no socket can be kept, and carries messages
// both ways for a [Peer].
package client
