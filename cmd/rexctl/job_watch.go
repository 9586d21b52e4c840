package main

import (
	"github.com/spf13/cobra"
)

func (a *app) jobWatch() *cobra.Command {
	f := &watchFlags{}
	cmd := &cobra.Command{
		Use:   "watch JOB",
		Short: "Watch a job until it is done, and print its hosts' output",
		Long: `Watch does for a job that is there what run does for a new one; the exit status
is the same. Output that is stored already is printed too.`,
		Args: takes("one job", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			v := a.view(c)
			if err := f.apply(&v); err != nil {
				return err
			}
			return v.Watch(cmd.Context(), args[0])
		},
		ValidArgsFunction: a.completeJob,
	}
	f.add(cmd)
	return cmd
}
