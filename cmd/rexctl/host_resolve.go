package main

import (
	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) hostResolve() *cobra.Command {
	return &cobra.Command{
		Use:   "resolve HOST",
		Short: "Clear the mark of a host whose identity two machines used",
		Long: `Resolve lets the next machine that comes with the host's identity have it. Stop
the wrong one first.`,
		Args: takes("one host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			h, err := c.PatchHost(cmd.Context(), args[0], api.HostPatch{ResolveDuplicate: true})
			if err != nil {
				return err
			}
			return a.did(args[0]+" has no duplicate mark any more; the next machine that comes with its identity is it", h)
		},
		ValidArgsFunction: a.completeHost,
	}
}
