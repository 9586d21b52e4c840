package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) jobCancel() *cobra.Command {
	var sel selectFlags
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "Cancel a job, or some of its executions",
		Long: `Cancel ends executions that no host has accepted at once, and asks the hosts of
the others to end them: the script's process group gets TERM, and KILL after the
job's grace. Executions that have ended are left alone.`,
		Args: takes("one job", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			chosen, err := sel.selection(cmd)
			if err != nil {
				return err
			}
			answer, err := c.Cancel(cmd.Context(), args[0], chosen)
			if err != nil {
				return err
			}
			return a.cancelled(answer)
		},
		ValidArgsFunction: a.completeJob,
	}
	sel.add(a, cmd, true)
	return cmd
}

// cancelled says what a cancel or a purge did.
func (a *app) cancelled(c api.Cancellation) error {
	text := fmt.Sprintf("%d cancelled", c.Cancelled)
	if c.Asked > 0 {
		text += fmt.Sprintf("; %d asked for, to be confirmed by their hosts", c.Asked)
	}
	return a.did(text, c)
}
