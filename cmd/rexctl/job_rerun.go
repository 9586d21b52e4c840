package main

import (
	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

func (a *app) jobRerun() *cobra.Command {
	var (
		f      watchFlags
		sel    selectFlags
		all    bool
		detach bool
	)
	cmd := &cobra.Command{
		Use:   "rerun {--failed|--state S|--host ID|--selector S|--all} JOB",
		Short: "Run a job again, as a new job, on some of its hosts",
		Long: `Rerun makes a new job with the script and options of another one, but for its
--not-before, on the hosts whose executions are selected, and watches it as run
does.`,
		Example: `  rexctl job rerun --failed 0d1u2q...`,
		Args:    takes("one job", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := sel.selection(cmd)
			if err != nil {
				return err
			}
			if chosen := len(s.Hosts)+len(s.States) > 0 || s.Selector != nil; chosen == all {
				return ctl.Usagef("say which executions: --failed, --state, --host or --selector, or --all for all")
			}
			v := a.view(c)
			if err := f.apply(&v); err != nil {
				return err
			}
			if detach {
				job, err := c.Rerun(cmd.Context(), args[0], s)
				if err != nil {
					return err
				}
				return a.detached(job)
			}
			return v.Rerun(cmd.Context(), args[0], s)
		},
		ValidArgsFunction: a.completeJob,
	}
	sel.add(a, cmd, true)
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all hosts of the job")
	cmd.Flags().BoolVar(&detach, "detach", false, "print the new job's id and don't watch it")
	return cmd
}
