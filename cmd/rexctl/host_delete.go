package main

import "github.com/spf13/cobra"

func (a *app) hostDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete HOST",
		Short: "Revoke a host and remove its record",
		Long: `Delete revokes a host and removes its record. Its executions stay readable. It
comes back only by enrolling anew.`,
		Args: takes("one host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := a.confirm(cmd.Context(), yes, "Delete host "+args[0]+"?"); err != nil {
				return err
			}
			if err := c.DeleteHost(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.did(args[0]+" is deleted; its queue has ended", hostDone{args[0], "deleted"})
		},
		ValidArgsFunction: a.completeHost,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}
