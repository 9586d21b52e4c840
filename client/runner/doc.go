// Package runner runs scripts, each under a supervisor of its own: a process
// that outlives the agent, owns the script's process group, its time limit,
// output limit and cancel, and keeps all that is known of the script on disk.
//
// # An execution's directory
//
//	ctl       Unix socket of the supervisor: notices out, cancels in
//	state     pid and start time of supervisor and script, boot id (JSON)
//	script    the script, readable by its user
//	NNN.seg   frames: what happened, numbered; NNN is the number of the first
//	exit      how it ended (JSON), written last, atomically and fsynced
//	log       what the supervisor itself had to say, empty as a rule
//
// # What is found on disk, and what it means
//
//	exit   state  boot   ctl answers   it is
//	yes    any    any    any           ended, as exit says
//	no     no     any    any           ErrNoTrace: nothing was started
//	no     yes    other  any           lost: the host was restarted
//	no     yes    same   yes           alive: frames go on
//	no     yes    same   no            lost: its supervisor was killed; what is left of the script is killed too
//
// # The supervisor
//
// It is the same binary, re-executed, so that an upgrade under a running job
// leaves that job with the code it was started with. One goroutine owns its
// state; readers of the pipes, and one goroutine for each agent that listens, only
// pass things to it. It is a subreaper: whatever the script leaves behind becomes
// its child, so that the end of a group is an event, not a guess.
package runner
