package ctl

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
)

// LogsRequest says which output of a job is wanted.
type LogsRequest struct {
	Job    string
	Hosts  []string // nil = all
	States []string // nil = all; not together with Hosts
	Stream string   // operator.Stdout, Stderr or Both
	// Follow goes on until the executions have ended; for up to View.LiveHosts hosts.
	Follow bool
}

// readAhead is how many hosts' output is read before their turn to be printed.
const readAhead = 8

// Logs prints output that is stored, host by host in the order of the job's targets; or
// follows it. How the executions ended doesn't matter to it.
func (v View) Logs(parent context.Context, r LogsRequest) error {
	if v.Format == "" {
		v.Format = Table
	}
	if v.LiveHosts == 0 {
		v.LiveHosts = DefaultLiveHosts
	}
	job, err := v.Client.Job(parent, r.Job, operator.JobOptions{})
	if err != nil {
		return err
	}
	n := len(r.Hosts)
	if n == 0 {
		n = job.Targets
	}
	if r.Follow && n > v.LiveHosts {
		return Usagef("--follow: the job has %s, and at most %d can be followed; name some, or use job watch", Plural(n, "host"), v.LiveHosts)
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s := &show{View: &v, job: job}
	s.p = newPrinter(v.Out, v.Err, cancel)
	xs := s.selected(ctx, r)
	if r.Follow {
		err = s.followLogs(ctx, r, xs, n > 1)
	} else {
		err = s.storedLogs(ctx, r, xs, n > 1)
	}
	s.p.close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// selected gives the executions that are asked for.
func (s *show) selected(ctx context.Context, r LogsRequest) iter.Seq2[api.Execution, error] {
	if len(r.Hosts) == 0 {
		return s.Client.Executions(ctx, operator.ExecutionQuery{Job: r.Job, States: r.States})
	}
	return func(yield func(api.Execution, error) bool) {
		for _, h := range r.Hosts {
			if x, err := s.Client.Execution(ctx, r.Job, h); !yield(x, err) {
				return
			}
		}
	}
}

func (s *show) followLogs(ctx context.Context, r LogsRequest, xs iter.Seq2[api.Execution, error], several bool) error {
	var hosts []string
	for x, err := range xs {
		if err != nil {
			return err
		}
		hosts = append(hosts, x.Host)
	}
	var wg sync.WaitGroup
	errs := make([]error, 2*len(hosts))
	prefixes := alignedPrefixes(hosts)
	for i, h := range hosts {
		for j, stream := range streams(r.Stream) {
			wg.Go(func() {
				w := s.newHostWriter(s.p, h, stream, prefixes[i], several)
				_, errs[2*i+j] = s.Client.CopyOutput(ctx, w, operator.OutputRequest{Job: r.Job, Host: h, Stream: stream, Follow: true})
				w.flush()
			})
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func streams(s string) []string {
	if s == operator.Both {
		return []string{operator.Stdout, operator.Stderr}
	}
	return []string{s}
}

// storedLogs reads a few hosts at once, and prints them in order: each passes the turn on
// to the next.
func (s *show) storedLogs(ctx context.Context, r LogsRequest, xs iter.Seq2[api.Execution, error], several bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, readAhead)
	before := make(chan struct{})
	close(before)
	for x, err := range xs {
		if err != nil {
			wg.Wait() // what came before it is printed
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		turn, after := before, make(chan struct{})
		before = after
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.printStored(ctx, x, r.Stream, several, turn, after); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *show) printStored(ctx context.Context, x api.Execution, stream string, several bool, turn, after chan struct{}) error {
	b := &block{to: s.p, release: func() { close(after) }, take: func() bool {
		select {
		case <-turn:
			return true
		case <-ctx.Done():
			return false
		}
	}}
	defer b.close()
	switch stream {
	case operator.Stdout:
		x.Output.Stderr = 0
	case operator.Stderr:
		x.Output.Stdout = 0
	}
	err := s.copyStored(ctx, b, x, prefix(x.Host, 0), several)
	for _, n := range Missing(x.Output) {
		b.send(piece{toNotes, []byte(safetext.Line(x.Host) + ": " + n + "\n")})
	}
	return err
}
