// Package wire is the language between a gateway and an agent: messages, their
// JSON, versions, close codes. The socket and the poll carry the same messages;
// a frame, a poll's answer and a POST body are each one message or an array
// of them.
//
// # Numbers
//
// Two kinds of numbers keep both directions exact. Messages that carry work
// (job, cancel) have N, rising per host, given by the store: a poll, or a
// hello, names the last one that has arrived. Events of an execution have Seq, from 1 without
// holes, given by the agent: an ack names the last one that is stored. All
// other messages can be recomputed and have no number.
//
// # Evolution
//
// Unknown types and unknown fields are ignored. A message that isn't valid JSON,
// or whose fields have the wrong type or are out of bounds, is malformed: the
// socket closes with CloseMalformed, the POST answers 400.
package wire
