// Package runner runs scripts, each under a supervisor of its own: a process
// that outlives the agent, owns the script's process group, its time limit,
// output limit and cancel, and keeps all that is known of the script on disk.
//
// # An execution's directory
//
//	ctl       Unix socket of the supervisor: notices out, cancels in
//	state     pid and start time of supervisor and script, boot id, cgroup (JSON)
//	script    the script, readable by its user
//	NNN.seg   frames: what happened, numbered; NNN is the number of the first
//	exit      how it ended (JSON), written last, atomically and fsynced
//	log       what the supervisor itself had to say, empty as a rule
//
// # What is found on disk, and what it means
//
//	exit      state     boot    supervisor   it is
//	whole     any       any     any          ended, as exit says
//	not       whole     other   any          lost: the host was restarted
//	not       any       this*   alive        alive: frames go on, or are about to
//	damaged   any       this*   gone         lost: how it ended can't be read
//	absent    damaged   -       gone         lost: the same
//	absent    absent    -       gone         ErrNoTrace: nothing was started
//	absent    whole     this    gone         lost: its supervisor was killed
//
// A supervisor is alive if ctl answers, or else if the process of the state is there. this* = as far as the state
// tells. A state of a later version counts as damaged. In the lost ones of this boot, what is left of the script is
// killed first: by its cgroup, and by the execution's id in the environment. What can't be found out now (no
// descriptor, no memory) is none of these: it is asked again.
//
// # The supervisor
//
// It is the same binary, re-executed, so that an upgrade under a running job
// leaves that job with the code it was started with. One goroutine owns its
// state; readers of the pipes, and one goroutine for each agent that listens, only
// pass things to it. It is a subreaper: whatever the script leaves behind becomes
// its child, so that the end of a group is an event, not a guess.
//
// # What is ended with a script
//
// Where the agent has a cgroup to divide (OwnCgroups), each script is started in one of its own, the supervisor
// outside of it. A cancel and a time limit end all that is in it, and all that descends from the supervisor besides;
// they are confirmed when none of that is left. Without cgroups it is the descendants: a process that
// another one adopts, as a service manager does, is out of reach.
//
// A script that ends by itself leaves its daemons alone, unless Spec.EndAll is set. They live on in the script's
// cgroup, which is removed once it is empty.
//
// # Room
//
// Frames that the store has are removed from the disk by Trim, in whole segments. A script that has more on disk than
// Spec.SpoolLimit waits in its write until there is room; nothing it prints is lost. Once it has ended, what its
// pipes still hold is written all the same.
package runner
