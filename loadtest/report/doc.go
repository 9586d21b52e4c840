// Package report holds what one run of a load test measured, and shows it: as JSON
// that other programs can read, as text for a terminal, and as SVG plots.
//
// # From samples to a report
//
// Whoever measures keeps a Recorder for each kind of sample, fills a Result, and
// writes it with Write, which makes a folder of result.json, result.txt and one SVG
// file for each plot. Read reads result.json back; Show makes text and plots anew from it;
// Compare prints two runs side by side.
//
// # The JSON
//
// Field names end in their unit: _s is seconds as a decimal number with up to
// nine places, _bytes is bytes. Counts have no unit. Times are RFC 3339. Fields of which nothing was
// measured are left out, so that an absent field never means zero measured.
// Format is raised when the meaning of a field changes; new fields don't raise it, and
// readers ignore fields that they don't know.
//
// # Time
//
// A Result has an origin: the moment when the job was submitted, or, in a scenario
// without a job, when measuring began. Series count from there, and what came
// before has a negative time. The origin is a moment of the load generator's clock. Distributions say by which clock they
// were taken: the store's, whose times come from the gateway's API, or the fleet's.
// On one machine both are the same clock; on several, only the differences within one of them mean anything.
package report
