package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/cmd/settings"
)

func newDoctor() *cobra.Command {
	var p place
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what works between this host and its gateways",
		Long: `Tries each step of the way to each gateway, from the name to the WebSocket, and says what to do
about those that fail. It disturbs no agent that runs. The status is 0 if jobs can reach
this host, by the socket or by the poll, through one gateway at least.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			_, cfg, err := p.link("auto")
			if err != nil {
				return err
			}
			cfg.StateFile = "" // the running agent's
			checks, err := client.Diagnose(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(checks)
			} else {
				err = printChecks(cmd.OutOrStdout(), checks)
			}
			if err != nil {
				return err
			}
			for _, c := range checks {
				if c.OK && (c.Name == "poll" || c.Name == "ping") {
					return nil
				}
			}
			return errors.New("jobs can't reach this host: no gateway serves it, by the socket or by the poll")
		},
	}
	fs := cmd.Flags()
	p.flags(fs)
	fs.StringSliceVar(&p.gateways, "gateway", nil, "`URLs` of gateways (default: as enrolled)")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	must(settings.CommandLineOnly(fs, "json"))
	return cmd
}

func printChecks(w io.Writer, checks []client.Check) error {
	var gateway string
	var errs []error
	say := func(format string, args ...any) {
		_, err := fmt.Fprintf(w, format, args...)
		errs = append(errs, err)
	}
	for _, c := range checks {
		if c.Gateway != gateway {
			gateway = c.Gateway
			say("%s\n", gateway)
		}
		mark := "ok"
		if !c.OK {
			mark = "FAILED"
		}
		say("  %-7s %-7s %s (%v)\n", c.Name, mark, c.Detail, c.Took.Round(100*time.Microsecond))
		if c.Advice != "" {
			say("  %-7s %-7s -> %s\n", "", "", c.Advice)
		}
	}
	return errors.Join(errs...)
}
