package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/loadtest/report"
)

// page is how many records are read at once: the most that the API gives.
const page = 1000

// selector selects the fleet's hosts.
func (r *run) selector() string { return Label + "=" + r.identity.Name }

// online is how many of the fleet's hosts the API says to be online.
func (r *run) online(ctx context.Context) (int, error) {
	n, yes := 0, true
	for _, err := range r.op.Hosts(ctx, operator.HostQuery{Selector: r.selector(), Online: &yes, Limit: page}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// deleters is how many hosts are deleted at once.
const deleters = 16

func (r *run) deleteHosts(ctx context.Context) error {
	var hosts []string
	for h, err := range r.op.Hosts(ctx, operator.HostQuery{Selector: r.selector(), Limit: page}) {
		if err != nil {
			return err
		}
		hosts = append(hosts, h.ID)
	}
	next := make(chan string)
	errs := make([]error, deleters)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for h := range next {
				if err := r.op.DeleteHost(ctx, h); err != nil {
					errs[i] = err
				}
			}
		})
	}
	for _, h := range hosts {
		next <- h
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// records reads a job's executions, and takes the store's times of each step and the final states from them.
func (r *run) records(ctx context.Context, job api.Job) ([]api.Execution, *[steps]report.Recorder, error) {
	var all []api.Execution
	var by [steps]report.Recorder
	states := map[string]int{}
	for x, err := range r.op.Executions(ctx, operator.ExecutionQuery{Job: job.ID, Limit: page}) {
		if err != nil {
			return nil, nil, fmt.Errorf("the job's records: %w", err)
		}
		all = append(all, x)
		states[x.State]++
		for i, at := range []*time.Time{x.LeasedAt, x.AcceptedAt, x.StartedAt, x.FinishedAt} {
			if at != nil {
				by[i].Add(at.Sub(job.CreatedAt))
			}
		}
	}
	r.result.Executions = states
	return all, &by, nil
}

// collect gathers what the workers saw of errors and polls.
func (r *run) collect(ctx context.Context) error {
	notices, err := r.crew.all(ctx, func(int) order { return order{Do: doCollect, Collect: &collectOrder{}} })
	if err != nil {
		return err
	}
	seen := map[string]report.Error{}
	for _, n := range notices {
		for _, e := range n.Collected.Errors {
			s := seen[e.Reason]
			e.Count += s.Count
			seen[e.Reason] = e
		}
	}
	r.result.Errors = slices.SortedFunc(maps.Values(seen), func(a, b report.Error) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return nil
}

// mostFrequentError is what a person should read first of what the fleet met.
func (r *run) mostFrequentError() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.collect(ctx); err != nil || len(r.result.Errors) == 0 {
		return ""
	}
	e := r.result.Errors[0]
	return fmt.Sprintf("; most often (%d times): %s", e.Count, e.Example)
}

// collectSteps gives the fleet's times of a job's steps.
func (r *run) collectSteps(ctx context.Context, job string, submitted time.Time) (*[steps]report.Recorder, error) {
	notices, err := r.crew.all(ctx, func(int) order {
		return order{Do: doCollect, Collect: &collectOrder{Job: job, Submitted: submitted.UnixNano()}}
	})
	if err != nil {
		return nil, err
	}
	var by [steps]report.Recorder
	for _, n := range notices {
		for i, b := range n.Collected.Steps {
			if err := by[i].Merge(b); err != nil {
				return nil, err
			}
		}
	}
	return &by, nil
}

// watchPolls watches for a while what polling hosts see.
func (r *run) watchPolls(ctx context.Context, phase string, d time.Duration) error {
	r.phase(ctx, phase)
	if _, err := r.crew.all(ctx, func(int) order { return order{Do: doPolls} }); err != nil {
		return err
	}
	began := time.Now()
	before := r.crew.counts().Polls
	if err := sleep(ctx, d); err != nil {
		return err
	}
	took := time.Since(began)
	notices, err := r.crew.all(ctx, func(int) order { return order{Do: doCollect, Collect: &collectOrder{}} })
	if err != nil {
		return err
	}
	var empty, held, interval report.Recorder
	p := &report.Polls{Answers: map[string]int{}, PerSecond: float64(r.crew.counts().Polls-before) / took.Seconds()}
	for _, n := range notices {
		err := errors.Join(empty.Merge(n.Collected.Empty), held.Merge(n.Collected.Held), interval.Merge(n.Collected.Interval))
		if err != nil {
			return err
		}
		for status, k := range n.Collected.Answers {
			p.Answers[status] += k
		}
	}
	p.Empty, p.Held, p.Interval = empty.Distribution(), held.Distribution(), interval.Distribution()
	r.result.Polls = p
	return nil
}
