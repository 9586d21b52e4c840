// Package loadtest makes load with a fleet of simulated hosts, and measures how a service of gateways
// and a store bears it.
//
// # What is real
//
// Each host has the link, the agent, the journal and the Ed25519 key that a real one has, its own TCP connection, and
// TLS where that is asked for. Only its runner is replaced: [SimRunner] does what a script of echo and sleep would do,
// in memory. With [Config].Real not even that: scripts are supervised processes.
//
// # Processes
//
//	parent                 workers                       service
//	Run: stand, operator   Worker: fleet of hosts   -->  gateways, store
//	  orders (stdin)  -->    enrol, connect, collect
//	  <--  notices (stdout)  counts, samples
//
// A process can hold only so many descriptors, so that the fleet is spread over as many workers as it takes.
// They are the same program, called with other arguments. A worker ends when its stdin does, however the parent ended.
//
// # A run
//
// [Run] starts the service if it isn't there, enrols the hosts over the API, connects them at the pace that the service
// admits, waits till the API says that all are online, and lets the [Scenario] do its work. What happened is
// read from the records of the API, by the store's clock, and from the fleet, by its own.
package loadtest
