package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

func (a *app) hostRevoke() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke HOST",
		Short: "Bar a host: end its session and its queue",
		Long: `Revoke bars a host at once. What waits for it is cancelled, what runs there is
lost to rexgate. Enrolling it anew, with a token made with --replace, undoes it.`,
		Args: takes("one host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := a.confirm(cmd.Context(), yes, "Revoke host "+args[0]+"?"); err != nil {
				return err
			}
			if err := c.RevokeHost(cmd.Context(), args[0]); err != nil {
				return err
			}
			return a.did(args[0]+" is revoked; its queue has ended", hostDone{args[0], "revoked"})
		},
		ValidArgsFunction: a.completeHost,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}

// hostDone says to programs what was done to a host.
type hostDone struct {
	Host string `json:"host"`
	Done string `json:"done"`
}

// confirm asks a person, and refuses to guess where there is none.
func (a *app) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.tty {
		return ctl.Usagef("nobody can be asked here; give --yes to go ahead")
	}
	fmt.Fprint(a.err.W, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // ends with the process: reading a terminal can't be interrupted
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case s := <-answer:
		if s == "y" || s == "yes" {
			return nil
		}
		return ctl.Usagef("nothing was done")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
