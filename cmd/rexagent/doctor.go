package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
)

func newDoctor() *cobra.Command {
	var p place
	var tokenFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what works between this host and its gateways",
		Long: `Tries each step of the way to each gateway, from the name to the WebSocket, and says what to do
about those that fail. It disturbs no agent that runs. The status is 0 if jobs can reach
this host, by the socket or by the poll, through one gateway at least.

Before this host is enrolled it goes as far as that a gateway answers: give --gateway, or
--token-file with the enrolment token, which names the gateway and its CA.`,
		Example: "  rexagent doctor\n  rexagent doctor --gateway https://rexgate.example.com\n  rexagent doctor --token-file token",
		Args:    program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			checks, err := p.diagnose(cmd.Context(), tokenFile, cmd.InOrStdin())
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
				if c.OK && (c.Name == "poll" || c.Name == "ping" || c.Name == "gateway") {
					return nil
				}
			}
			return errors.New("no gateway serves this host, by the socket or by the poll: jobs can't reach it")
		},
	}
	fs := cmd.Flags()
	p.flags(fs)
	fs.StringSliceVar(&p.gateways, "gateway", nil, "`URLs` of gateways (default: as enrolled)")
	fs.StringVar(&tokenFile, "token-file", "", "`file` with an enrolment token, to try the way that it names; - is standard input")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	must(settings.CommandLineOnly(fs, "json", "token-file"))
	return cmd
}

// diagnose goes with the host's own token where it has one, and else, or where an enrolment
// token is given, as far as that isn't needed.
func (p *place) diagnose(ctx context.Context, tokenFile string, stdin io.Reader) ([]client.Check, error) {
	if tokenFile != "" {
		token, err := readToken(tokenFile, stdin)
		if err != nil {
			return nil, err
		}
		gateway, pin, err := client.TokenWay(token)
		if err != nil {
			return nil, err
		}
		return client.DiagnoseWay(ctx, append([]string{gateway}, p.gateways...), client.Network{CAFile: p.ca, CASHA256: pin})
	}
	_, cfg, err := p.link("auto")
	if errors.Is(err, client.ErrNotEnrolled) {
		if len(p.gateways) == 0 {
			return nil, program.Usagef("%w; to try the way before that, give --gateway URL, or --token-file with the enrolment token", client.ErrNotEnrolled)
		}
		return client.DiagnoseWay(ctx, p.gateways, client.Network{CAFile: p.ca})
	}
	if err != nil {
		return nil, err
	}
	cfg.StateFile = "" // the running agent's
	return client.Diagnose(ctx, cfg)
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
