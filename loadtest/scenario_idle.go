package loadtest

import (
	"context"
	"time"

	"github.com/rexgate/rexgate/loadtest/report"
)

// idle lets hosts be connected and do nothing: what is measured is what that takes. The job before gives every
// part of the way its buffers, as traffic would.
func idle() Scenario {
	return Scenario{
		Name: "idle", About: "all hosts connected and idle, after one instant job: memory and CPU of a host",
		Hosts: 1000, Mix: "socket", Script: "echo hello\n", For: time.Minute,
		do: func(ctx context.Context, r *run) error {
			if err := oneJob(ctx, r); err != nil {
				return err
			}
			if err := r.rest(ctx); err != nil {
				return err
			}
			return r.watch(ctx, report.PhaseIdle, r.cfg.For)
		},
	}
}
