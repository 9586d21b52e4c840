// Package stand puts up what a load test measures: a store and gateways, as processes
// of their own on the loopback, for one run; and it samples what processes use.
//
// Start returns a Stand when everything is ready, and Close ends it in order: the
// gateways, then the store. The processes die with the one that started them, however that ends.
// Nothing that Start didn't start is touched: ports are taken from the kernel, files are in a new folder.
//
// A Sampler reads CPU time, memory, threads and descriptors of processes from /proc, those of
// a gateway elsewhere from its /metrics, and those of a Redis from its INFO. It is used with a stand, or alone
// with a service that was there before.
package stand
