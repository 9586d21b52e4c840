package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
)

func newEnroll() *cobra.Command {
	var p place
	var tokenFile, host string
	cmd := &cobra.Command{
		Use:   "enroll --token-file FILE",
		Short: "Register this host with a gateway",
		Long: `Makes this host's key, and registers it with the gateway that the enrolment token
names (rexctl token enroll makes one). The key never leaves the state directory. Enrolling
again with the same token changes nothing.`,
		Example: "  rexagent enroll --token-file token\n  ssh gateway rexctl token enroll | rexagent enroll --token-file -",
		Args:    program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			if err := p.check(); err != nil {
				return err
			}
			token, err := readToken(tokenFile, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if host == "" {
				if host, err = os.Hostname(); err != nil {
					return fmt.Errorf("this host's name: %w; give one with --host", err)
				}
			}
			id, err := client.Enroll(cmd.Context(), client.EnrollConfig{
				Dir: p.stateDir, Token: token, Host: host, Gateways: p.gateways,
				Network: client.Network{CAFile: p.ca},
			})
			if err != nil {
				return err
			}
			h := id.Host()
			fmt.Fprintf(cmd.OutOrStdout(), "Enrolled as %s at %s; the key is in %s.\n", h.Host, strings.Join(h.Gateways, ", "), p.stateDir)
			runs, err := agent.Locked(p.stateDir)
			if runs {
				fmt.Fprintln(cmd.OutOrStdout(), "An agent runs here already: restart rexagent run to use it.")
			}
			return err
		},
	}
	fs := cmd.Flags()
	p.flags(fs)
	fs.StringVar(&tokenFile, "token-file", "", "`file` with the enrolment token; - is standard input")
	fs.StringVar(&host, "host", "", "id of this host (default: its name)")
	fs.StringSliceVar(&p.gateways, "gateway", nil, "`URLs` of further gateways to use, after the token's")
	must(settings.CommandLineOnly(fs, "token-file"))
	return cmd
}

// maxToken bounds a token's file, in bytes.
const maxToken = 64 << 10

func readToken(file string, stdin io.Reader) (string, error) {
	switch file {
	case "":
		return "", program.Usagef("--token-file: must name the file with the enrolment token, or be - for standard input")
	case "-":
		b, err := io.ReadAll(io.LimitReader(stdin, maxToken))
		if err != nil {
			return "", fmt.Errorf("enrolment token: %w", err)
		}
		if token := strings.TrimSpace(string(b)); token != "" {
			return token, nil
		}
		return "", program.Usagef("--token-file: standard input is empty")
	}
	token, err := settings.ReadSecret(file)
	return strings.TrimSpace(token), err
}
