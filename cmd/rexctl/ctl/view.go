package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
)

// Format is how results are written to stdout.
type Format string

// The formats. With JSON, the job is written once it is done, with its executions and no output of hosts; with
// JSONL, one Event a line, output included.
const (
	Table Format = "table"
	JSON  Format = "json"
	JSONL Format = "jsonl"
)

// Mode says of which hosts the output is printed.
type Mode string

// The modes.
const (
	OutputAll    Mode = "all"
	OutputFailed Mode = "failed" // of hosts whose execution failed, once it has
	OutputNone   Mode = "none"
)

// DefaultLiveHosts is up to how many targets a job is followed live: two requests
// are held open for each.
const DefaultLiveHosts = 32

// View shows jobs. Set the exported fields; the zero values of the others are usable.
type View struct {
	Client   *operator.Client
	Out, Err Terminal
	Format   Format // "" = Table
	Output   Mode   // "" = OutputAll
	// Deadline ends the watch with ExitDeadline; the job goes on. 0 = none.
	Deadline time.Duration
	// LiveHosts is up to how many targets a job is followed live; 0 = DefaultLiveHosts.
	LiveHosts int
	// Command is what to type for rexctl, with what it needs to reach this server, in the
	// hints that are printed; "" = "rexctl".
	Command string
}

// Run submits a job, prints what comes until it is done, and returns nil if all
// its executions succeeded. Other ends are errors with an exit status: see
// StatusOf and Finish. When ctx ends, the job goes on, and that is said.
func (v View) Run(ctx context.Context, req api.JobRequest) error {
	return v.run(ctx, func(ctx context.Context) (api.Job, error) { return v.Client.Submit(ctx, req) })
}

// Rerun is Run with a new job made of another job's executions.
func (v View) Rerun(ctx context.Context, job string, s api.Selection) error {
	return v.run(ctx, func(ctx context.Context) (api.Job, error) { return v.Client.Rerun(ctx, job, s) })
}

// Watch is Run for a job that is there already.
func (v View) Watch(ctx context.Context, id string) error {
	return v.run(ctx, func(ctx context.Context) (api.Job, error) { return v.Client.Job(ctx, id, operator.JobOptions{}) })
}

func (v View) run(ctx context.Context, get func(context.Context) (api.Job, error)) error {
	if v.Format == "" {
		v.Format = Table
	}
	if v.Output == "" {
		v.Output = OutputAll
	}
	if v.LiveHosts == 0 {
		v.LiveHosts = DefaultLiveHosts
	}
	if v.Command == "" {
		v.Command = "rexctl"
	}
	if v.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, v.Deadline, errDeadline)
		defer cancel()
	}
	job, err := get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return v.detachedEarly(ctx)
		}
		return err
	}
	return v.watch(ctx, job)
}

// detachedEarly speaks of a job that may or may not have been taken.
func (v *View) detachedEarly(ctx context.Context) error {
	status := statusOfEnd(ctx)
	return &Error{Status: status, Err: fmt.Errorf("%w before the server answered; to see whether it took the job:\n  %s job list",
		context.Cause(ctx), v.Command)}
}

func statusOfEnd(ctx context.Context) int {
	if errors.Is(context.Cause(ctx), errDeadline) {
		return ExitDeadline
	}
	return ExitInterrupted
}

// show is one job being shown.
type show struct {
	*View
	job   api.Job // as it was at first
	p     *printer
	meter meter   // it and last belong to the goroutine that watches
	last  api.Job // the last snapshot
}

func (v *View) watch(parent context.Context, job api.Job) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s := &show{View: v, job: job, last: job, meter: meter{began: time.Now()}}
	s.p = newPrinter(v.Out, v.Err, func(err error) { cancel(&Error{Status: ExitServer, Err: err}) })
	if v.Format == JSONL {
		s.p.send(piece{toStdout, encode(Event{Event: "job", Job: &job})})
	}
	if v.Format == Table {
		s.p.note(fmt.Sprintf("Job %s on %s", job.ID, Plural(job.Targets, "host")))
	}
	o := s.startOutputs(ctx)
	err := s.snapshots(ctx, o)
	if err != nil {
		cancel(err)
	}
	if oerr := o.wait(); err == nil {
		err = oerr
	}
	if err == nil {
		err = s.finish(ctx)
	}
	s.p.close()
	var e *Error
	switch {
	case errors.As(context.Cause(ctx), &e) && e.Status == ExitServer:
		return e // stdout can't be written
	case parent.Err() != nil && StatusOf(err) != ExitOK && StatusOf(err) != ExitFailed:
		return v.detached(parent, s.last)
	}
	return err
}

// snapshots shows the progress until the job is done.
func (s *show) snapshots(ctx context.Context, o outputs) error {
	every := time.Second
	if s.Err.TTY {
		every = 500 * time.Millisecond
	}
	if s.job.Targets > 10_000 {
		every = 2 * time.Second
	}
	pace := plainPace{next: s.meter.began.Add(10 * time.Second)}
	troubled := false
	trouble := func(err error) {
		switch {
		case err == nil && troubled:
			s.p.note("The server answers again.")
		case err != nil && !troubled:
			s.p.note("Trying again: " + Explain(err))
		}
		troubled = err != nil
	}
	for j, err := range s.Client.Watch(ctx, s.job.ID, operator.WatchOptions{Every: every, Trouble: trouble}) {
		if err != nil {
			return err
		}
		s.last = j
		now := time.Now()
		s.meter.note(j, now)
		if s.Err.TTY {
			s.p.send(piece{toProgress, []byte(s.meter.line(j, now, s.Err.columns()-1))})
		} else if pace.due(j.Done, now) {
			s.p.note(s.meter.line(j, now, 0))
		}
		o.update(j)
	}
	return nil
}

// plainPace says when a progress line is due that can't be redrawn: when something
// changed, and not often.
type plainPace struct {
	next time.Time
	done int
}

func (p *plainPace) due(done int, now time.Time) bool {
	if now.Before(p.next) || done == p.done {
		return false
	}
	p.next, p.done = now.Add(30*time.Second), done
	return true
}

// finish says how the job ended.
func (s *show) finish(ctx context.Context) error {
	s.p.send(piece{kind: toProgress})
	j := s.last
	succeeded := j.Counters["succeeded"]
	switch s.Format {
	case JSON:
		if err := s.sendWhole(ctx, j); err != nil {
			return err
		}
	case JSONL:
		s.p.send(piece{toStdout, encode(Event{Event: "finished", Job: &j})})
	default:
		if err := s.listFailed(ctx); err != nil {
			return err
		}
		s.p.note(s.sum())
	}
	if succeeded == j.Targets {
		return nil
	}
	return &Error{Status: ExitFailed}
}

// wholeJob is a job with its executions.
type wholeJob struct {
	api.Job
	Executions []api.Execution `json:"executions"`
}

func (s *show) sendWhole(ctx context.Context, j api.Job) error {
	whole := wholeJob{Job: j, Executions: []api.Execution{}}
	for x, err := range s.Client.Executions(ctx, operator.ExecutionQuery{Job: j.ID, Limit: pageSize}) {
		if err != nil {
			return err
		}
		whole.Executions = append(whole.Executions, x)
	}
	b, err := EncodeJSON(whole, JSON)
	if err != nil {
		return err
	}
	s.p.send(piece{toStdout, b})
	return nil
}

// sum is the last line: how many ended how, in how long.
func (s *show) sum() string {
	j := s.last
	parts := []string{fmt.Sprintf("%d of %s succeeded", j.Counters["succeeded"], Plural(j.Targets, "host"))}
	for _, state := range endStates() {
		if n := j.Counters[state]; n > 0 && state != "succeeded" {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	took := ""
	if j.FinishedAt != nil {
		took = " in " + Span(j.FinishedAt.Sub(j.CreatedAt))
	}
	return strings.Join(parts, ", ") + took + "."
}

// maxListed is how many failed hosts are named when their output wasn't shown.
const maxListed = 10

// listFailed names failed hosts where they were not named as they failed.
func (s *show) listFailed(ctx context.Context) error {
	if s.Output != OutputNone || s.last.Failed == 0 {
		return nil
	}
	n := 0
	for x, err := range s.Client.Executions(ctx, operator.ExecutionQuery{Job: s.job.ID, States: FailureStates(), Limit: maxListed + 1}) {
		if err != nil {
			return err
		}
		if n++; n > maxListed {
			s.p.note(fmt.Sprintf("... and %d more. All of them:\n  %s job show --failed %s", s.last.Failed-maxListed, s.Command, s.job.ID))
			break
		}
		s.note(x)
	}
	return nil
}

// note says how an execution failed.
func (s *show) note(x api.Execution) { s.p.note(hostNote(x)) }

// detached says that the job goes on, and how to see or end it.
func (v *View) detached(ctx context.Context, j api.Job) error {
	status := statusOfEnd(ctx)
	why := "Interrupted"
	if status == ExitDeadline {
		why = "The deadline of " + v.Deadline.String() + " passed"
	}
	if j.FinishedAt != nil {
		fmt.Fprintf(v.Err.W, "%s. The job is done on %s. To see its output:\n  %s job logs %s\n", why, Plural(j.Targets, "host"), v.Command, j.ID)
		return &Error{Status: status}
	}
	fmt.Fprintf(v.Err.W, "%s. The job goes on: %d of %s done. To watch it, to see what it waits for, or to cancel it:\n", why, j.Done, Plural(j.Targets, "host"))
	for _, verb := range []string{"watch", "why", "cancel"} {
		fmt.Fprintf(v.Err.W, "  %s job %s %s\n", v.Command, verb, j.ID)
	}
	return &Error{Status: status}
}
