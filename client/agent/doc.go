// Package agent is what a host does with its jobs: it journals them, starts
// each at most once and only on the store's go, keeps their output until it is
// stored, and tells the truth about them after any crash. It implements
// client.Peer; a link carries its messages.
//
// # The way of an execution
//
//	preparing  delivered: its script is fetched and checked, the policy asked
//	waiting    journalled, fsynced; accepted is sent; it waits for go
//	starting   go came; the start mark is fsynced, then the script is forked
//	running    a supervisor has it
//	ended      its last event is known; it waits until all is stored
//	settled    all is stored; a record stays until deliver_until has passed, the output for a while
//
// From waiting, forget leads to a record that it is not to be started under
// that token, and cancel to ended without a start. From preparing, a policy
// that says no leads to ended (rejected).
//
// # What it holds to
//
//   - Nothing is started without a journalled acceptance, a go that came after it, and
//     a start mark on disk. A go that is old by then isn't used: the store is asked
//     again. A mark without a trace of the script is reported as
//     lost, never started again. What can't be found out now is evidence of nothing: it is asked again.
//   - A record of what was started is kept until the gateway's time passes
//     deliver_until. A job that is delivered again meanwhile has its events sent again.
//   - Events of an execution are numbered from 1 without holes, and any of them
//     can be sent again until all are stored. What is gone from disk by then is a gap.
//   - Closing the agent leaves scripts running; the next one on the same directory goes on with
//     them.
//
// # The state directory
//
//	journal   records of executions; its first record names the generation
//	lock      held by the agent that runs
//	x/ID/     an execution's directory, see package runner
//
// The journal of a directory without one is a new generation; one of another machine, of another version, or damaged
// in what was on the disk is refused. Of what wasn't synced a power failure may leave anything.
//
// # Room on disk
//
// Executions in hand share Config.SpoolBytes, settled ones Config.KeepBytes. What is stored of a script that runs is
// removed after ten to twenty minutes, or at once if the script waits for room.
//
// # Goroutines and locks
//
// One goroutine for each execution that is not ended; none for an idle agent.
// Agent.mu guards all state of executions, and is not held over I/O; journal.mu is a leaf below
// it.
package agent
