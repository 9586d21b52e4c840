// Package faults puts a whole service under faults, and holds it to its promises against what hosts really ran.
//
// # The world
//
// Gateways, redis-server, rexagents with their supervisors and scripts are processes; so are crews: children of the suite
// that carry many light hosts each, with the real link, agent and journal files, and a runner that plays scripts without
// forking. Every connection of a host to a gateway, and of a gateway to Redis, passes a relay of the suite.
//
//	load ---> gateways ---relay---> Redis (or a file)
//	            ^
//	          relay (one for each host and gateway)
//	            |
//	crews of light hosts, rexagents --> scripts --> the trace
//
// # The trace
//
// Each script appends a line to one file when it starts, and when it comes to its end. The service knows nothing of it. What a
// script prints is a function of its execution's name and its [Plan].
//
// # The schedule
//
// All that is random follows from one seed: jobs, cancels, and the list of faults: what, whom, for how long, and in which
// state of an execution it is to strike. When it strikes is told by progress, not by a clock: after so
// many executions ended since the fault before, and at a trap that a light host runs into at the wanted moment. The table of the run says in which states
// of executions faults really struck, by the records of the store.
//
// # The checker
//
// When everything has healed and all is done, [Run] compares the ledger of what was accepted, the records and the output in the
// store, the states that were seen on the way, the trace, and what is left of processes, files and
// goroutines. Each difference is a violation.
package faults
