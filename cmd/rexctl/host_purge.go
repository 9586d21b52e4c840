package main

import "github.com/spf13/cobra"

func (a *app) hostPurge() *cobra.Command {
	var running bool
	cmd := &cobra.Command{
		Use:   "purge HOST",
		Short: "Cancel what waits for a host",
		Long: `Purge cancels what waits in a host's queue, of any job and in every lane; with
--running, the host is asked to end what it has accepted or runs, too. New jobs
for the host wait as ever.`,
		Args: takes("one host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			answer, err := c.PurgeHost(cmd.Context(), args[0], running)
			if err != nil {
				return err
			}
			return a.cancelled(answer)
		},
		ValidArgsFunction: a.completeHost,
	}
	cmd.Flags().BoolVar(&running, "running", false, "also what it has accepted or runs")
	return cmd
}
