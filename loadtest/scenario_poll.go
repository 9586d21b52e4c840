package loadtest

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// polls lets hosts poll for a while with nothing to do, and then gives all of them a job.
func polls() Scenario {
	return Scenario{
		Name: "poll", About: "all hosts on the poll: rate, latency and interval of empty polls, then one instant job",
		Hosts: 1000, Mix: "poll", Script: "echo hello\n", For: time.Minute,
		PollWait: -1, // else a gateway with room would hold them all, and no empty one be seen in a minute
		do: func(ctx context.Context, r *run) error {
			if err := r.watchPolls(ctx, report.PhaseIdle, r.cfg.For); err != nil {
				return err
			}
			return oneJob(ctx, r)
		},
	}
}
