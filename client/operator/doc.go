// Package operator is the Go SDK for operators: people and programs that submit
// jobs to hosts and watch them.
//
//	c, err := operator.New(operator.Options{Server: "https://gate.example", Token: operator.TokenFile("/etc/rexgate/token")})
//	job, err := c.Submit(ctx, api.JobRequest{Script: "uptime\n", Selector: "role=web"})
//	for j, err := range c.Watch(ctx, job.ID, operator.WatchOptions{}) { ... }
//
// # Errors
//
// What the server refuses is an [*api.Problem] (use errors.As). All else is that
// the server could not be reached or that something else answered in its place;
// such an error names the request. When ctx ends, its error is in the chain.
//
// # Repetition
//
// Every call may be repeated without harm, and is repeated by the SDK for up to
// Options.RetryFor while the server can't be reached, is busy or is unavailable: with
// growing, jittered pauses that are never shorter than the server's
// Retry-After. Submit and Rerun carry an idempotency key, so that a repeated one gives
// the job that the first one made.
//
// # What blocks
//
// All calls block until done or ctx ends. A [Client] is safe for concurrent use and
// starts no goroutines of its own.
//
// # Trust
//
// Names, labels, facts, reasons and output come from hosts and may hold anything,
// terminal escapes included. The SDK hands them on as they are.
package operator
