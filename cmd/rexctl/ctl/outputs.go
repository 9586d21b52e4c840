package ctl

import (
	"context"
	"errors"
	"sync"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

// outputs prints what hosts print, beside the snapshots of their job.
type outputs interface {
	update(api.Job) // a snapshot; it doesn't block
	wait() error    // until all is printed, or the context has ended
}

// startOutputs picks the way that suits the job's size and what is wanted.
func (s *show) startOutputs(ctx context.Context) outputs {
	quiet := s.Format == JSON || s.Format == Table && s.Output == OutputNone
	switch {
	case quiet:
		return noOutputs{}
	case s.Output == OutputAll && s.job.Targets <= s.LiveHosts:
		return s.startLive(ctx)
	}
	return s.startHarvest(ctx)
}

type noOutputs struct{}

func (noOutputs) update(api.Job) {}
func (noOutputs) wait() error    { return nil }

// live follows both streams of every host from the start.
type live struct {
	wg  sync.WaitGroup
	err error // of reading the targets
}

func (s *show) startLive(ctx context.Context) *live {
	l := &live{}
	l.wg.Go(func() {
		var hosts []string
		for h, err := range s.Client.Targets(ctx, s.job.ID) {
			if err != nil {
				l.err = err
				return
			}
			hosts = append(hosts, h)
		}
		prefixes := alignedPrefixes(hosts)
		for i, h := range hosts {
			l.wg.Go(func() { s.follow(ctx, h, prefixes[i]) })
		}
	})
	return l
}

func (l *live) update(api.Job) {}

func (l *live) wait() error {
	l.wg.Wait()
	return l.err
}

// follow prints a host's output as it comes, and then how it ended.
func (s *show) follow(ctx context.Context, host, prefix string) {
	var wg sync.WaitGroup
	var errs [2]error
	for i, stream := range []string{operator.Stdout, operator.Stderr} {
		wg.Go(func() {
			w := s.newHostWriter(s.p, host, stream, prefix, s.job.Targets > 1)
			_, errs[i] = s.Client.CopyOutput(ctx, w, operator.OutputRequest{Job: s.job.ID, Host: host, Stream: stream, Follow: true})
			w.flush()
		})
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil && errs[0] != nil {
		s.outputFailed(ctx, host, errs[0])
	} else if err != nil {
		s.outputFailed(ctx, host, errs[1])
	}
	x, err := s.Client.Execution(ctx, s.job.ID, host)
	if err != nil {
		s.outputFailed(ctx, host, err)
		return
	}
	if x.FinishedAt != nil {
		s.ended(s.p, x)
	}
}

// outputFailed says that a host's output can't be shown; the job is watched all the same.
func (s *show) outputFailed(ctx context.Context, host string, err error) {
	if ctx.Err() == nil {
		s.p.note(safetext.Line(host) + ": can't show the output: " + Explain(err))
	}
}

// ended tells that a host's execution has ended: always in JSONL; in a table where
// it failed, or where some of the output is missing.
func (s *show) ended(to sink, x api.Execution) {
	if s.Format == JSONL {
		to.send(piece{toStdout, encode(Event{Event: "execution", Execution: &x})})
		return
	}
	for _, n := range Missing(x.Output) {
		to.send(piece{toNotes, []byte(safetext.Line(x.Host) + ": " + n + "\n")})
	}
	if x.State != queue.Succeeded.String() {
		to.send(piece{toNotes, []byte(hostNote(x) + "\n")})
	}
}

func hostNote(x api.Execution) string { return safetext.Line(x.Host) + ": " + Outcome(x) }

// endStates names the terminal states.
func endStates() []string {
	var names []string
	for _, s := range queue.States() {
		if s.Terminal() {
			names = append(names, s.String())
		}
	}
	return names
}

// maxAligned is up to how many columns host names are padded to.
const maxAligned = 20

func alignedPrefixes(hosts []string) []string {
	width := 0
	for _, h := range hosts {
		width = max(width, len(h))
	}
	width = min(width, maxAligned)
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = prefix(h, width)
	}
	return out
}

func prefix(host string, width int) string {
	h := safetext.Line(host)
	for len(h) < width {
		h += " "
	}
	return h + " | "
}
