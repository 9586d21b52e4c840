package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
)

// oneJob gives the scenario's script to all hosts as one job, follows it till all is stored, and checks what
// came of it.
func oneJob(ctx context.Context, r *run) error {
	if err := sleep(ctx, r.cfg.Settle); err != nil {
		return err
	}
	script := r.cfg.Scenario.Script
	plan, err := ParseScript(script)
	known := err == nil // else a shell runs it, and only that knows what it prints
	request := api.JobRequest{Name: "load test: " + r.cfg.Scenario.Name, Script: script, Selector: r.selector()}
	if r.identity.Enrolled > r.cfg.Hosts { // others of the fleet are left out of this run
		request.Selector, request.Hosts = "", make([]string, r.cfg.Hosts)
		for i := range request.Hosts {
			request.Hosts[i] = r.identity.Host(i)
		}
	}
	r.phase(ctx, report.PhaseRun)
	submitted := time.Now()
	r.result.Origin = submitted
	job, err := r.op.Submit(ctx, request)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	r.result.Job = &report.Job{
		ID: job.ID, Script: script, Submit: report.Duration(time.Since(submitted)), RunTimeout: report.Duration(job.RunTimeout), Lane: job.Lane,
	}
	profiled := r.profile(ctx, report.PhaseRun, Lasting(plan)+profileMargin)
	last, err := r.follow(ctx, job, r.cfg.Patience+Lasting(plan))
	if err != nil {
		profiled() //nolint:errcheck // the other error says more
		r.abandon(ctx, job.ID)
		return err
	}
	r.phase(ctx, report.PhaseAfter)
	if err := errors.Join(profiled(), r.heaps(ctx)); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	ended, err := r.check(ctx, last, submitted)
	if err != nil || !known {
		return err
	}
	return r.checkOutput(ctx, ended, Printed(plan))
}

// follow waits until a job is done, or till its time is over.
func (r *run) follow(ctx context.Context, job api.Job, patience time.Duration) (api.Job, error) {
	wctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for j, err := range r.op.Watch(wctx, job.ID, operator.WatchOptions{Trouble: r.progress.trouble}) {
		switch {
		case err == nil:
			job = j
			r.progress.job(j)
		case ctx.Err() == nil && wctx.Err() != nil:
			r.wrong = append(r.wrong, fmt.Sprintf("%d of %d executions hadn't ended %s after the submit", job.Outstanding, job.Targets, patience))
			return job, nil
		default:
			return job, fmt.Errorf("follow the job: %w", err)
		}
	}
	return job, nil
}

// abandon cancels a job at a service that stays.
func (r *run) abandon(ctx context.Context, job string) {
	if r.stand != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, err := r.op.Cancel(ctx, job, api.Selection{}); err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("the job %s couldn't be cancelled: %v", job, err))
	}
}

// check reads what is on record of a job that is done, and gives the executions that have succeeded.
func (r *run) check(ctx context.Context, job api.Job, submitted time.Time) (succeeded []api.Execution, err error) {
	if job.Targets != r.cfg.Hosts {
		r.wrong = append(r.wrong, fmt.Sprintf("the job has %d targets, the fleet %d hosts", job.Targets, r.cfg.Hosts))
	}
	all, store, err := r.records(ctx, job)
	if err != nil {
		return nil, err
	}
	fleet, err := r.collectSteps(ctx, job.ID, submitted)
	if err != nil {
		return nil, err
	}
	for i, name := range []string{report.StepLeased, report.StepAccepted, report.StepStarted, report.StepFinished, report.StepStored} {
		step := report.Step{Name: name, ByStore: store[i].Distribution(), ByFleet: fleet[i].Distribution()}
		done, rate := &store[i], &store[i]
		if name == report.StepStored { // the store keeps its own time of it as that of the end
			step.ByStore, done, rate = store[finished].Distribution(), &fleet[i], &fleet[i]
		}
		if step.ByStore == nil && step.ByFleet == nil {
			continue
		}
		r.result.Steps = append(r.result.Steps, step)
		r.result.Series = append(r.result.Series, done.Done(name, 200), rate.Rate(name, 100*time.Millisecond))
	}
	again := 0
	for _, x := range all {
		if x.Deliveries > 1 {
			again++
		}
		if x.State == "succeeded" {
			succeeded = append(succeeded, x)
		}
	}
	if again > 0 {
		r.result.Notes = append(r.result.Notes, fmt.Sprintf("%d executions were delivered more than once", again))
	}
	for state, n := range r.result.Executions {
		if state != "succeeded" {
			r.wrong = append(r.wrong, fmt.Sprintf("%d executions are %s%s", n, state, why(all, state)))
		}
	}
	r.figures(job)
	return succeeded, nil
}

// why gives an example of how executions came to a state.
func why(all []api.Execution, state string) string {
	for _, x := range all {
		if x.State == state && x.Result != nil && x.Result.Reason != "" {
			return ", such as " + x.ID + ": " + x.Result.Reason
		}
	}
	return ""
}

// checkOutput compares the sizes of all outputs, and the bytes of a sample.
func (r *run) checkOutput(ctx context.Context, ended []api.Execution, printed string) error {
	bad := 0
	var example string
	wrong := func(x api.Execution, format string, args ...any) {
		if bad++; bad == 1 {
			example = x.ID + ": " + fmt.Sprintf(format, args...)
		}
	}
	for _, x := range ended {
		if o := x.Output; o.Stdout != int64(len(printed)) || o.Stderr != 0 || o.Dropped != 0 || o.Gap != 0 {
			wrong(x, "stdout %d bytes (of %d), stderr %d, dropped %d, gap %d", o.Stdout, len(printed), o.Stderr, o.Dropped, o.Gap)
		}
	}
	n := r.cfg.CheckOutput
	if n < 0 || n > len(ended) {
		n = len(ended)
	}
	for i := range n {
		x := ended[i*len(ended)/n]
		var b bytes.Buffer
		if _, err := r.op.CopyOutput(ctx, &b, operator.OutputRequest{Job: x.Job, Host: x.Host, Stream: operator.Stdout}); err != nil {
			return fmt.Errorf("output of %s: %w", x.ID, err)
		}
		if b.String() != printed {
			wrong(x, "it is %.100q, the script prints %.100q", b.String(), printed)
		}
	}
	r.result.Notes = append(r.result.Notes, fmt.Sprintf("output checked: sizes of %d executions, bytes of %d", len(ended), n))
	if bad > 0 {
		r.wrong = append(r.wrong, fmt.Sprintf("%d outputs are wrong, such as %s", bad, example))
	}
	return nil
}

// watch lets time pass in a phase of its own.
func (r *run) watch(ctx context.Context, phase string, d time.Duration) error {
	r.phase(ctx, phase)
	profiled := r.profile(ctx, phase, d)
	return errors.Join(sleep(ctx, d), profiled(), r.heaps(ctx))
}

// rest has the fleet give back what memory it doesn't use.
func (r *run) rest(ctx context.Context) error {
	_, err := r.crew.all(ctx, func(int) order { return order{Do: doRest} })
	return err
}
