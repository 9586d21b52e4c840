// Package queuetest is the conformance suite that every queue.Store passes,
// with the levers on time and room that it needs (see [Instance]).
//
// Each scenario runs on a fresh store, once as it is and once with every verb
// applied twice, and ends with a check that counters, state bytes, listings and
// queues tell the same of every execution.
package queuetest
