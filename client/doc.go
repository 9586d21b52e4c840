// Package client is the host's side of a session: it keeps one alive over the
// socket, or over the poll where no socket can be kept, and carries messages
// both ways for a [Peer].
//
//	identity, err := client.LoadIdentity(dir)
//	link, err := client.NewLink(client.Config{Gateways: urls, Identity: identity})
//	err = link.Run(ctx, peer)
//
// # Who delivers
//
// Exactly one transport delivers at a time. One baton, held by whoever says
// hello or delivers over the poll, keeps it so:
//
//   - a hello over the poll holds it from composing the hello to the end of
//     the welcome's delivery;
//   - an answer over the poll is delivered under it, and only if no take was
//     sent since it was asked for;
//   - a take holds it from composing to the welcome; the poll has ended by the time
//     that this welcome is delivered.
//
// The socket's reader delivers without it: while a socket delivers, nothing else exists.
//
// # Which transport
//
// [Config].Mode auto prefers the socket. What each end of a connection
// means for the choice is in one table, the type fault; what follows from it in
// one pure state machine, the type choice.
package client
