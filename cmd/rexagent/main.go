// Command rexagent is the program on a host: it calls in to a gateway, fetches
// jobs, runs them, and reports. Here are flags and wiring only; what it does is
// in packages client, agent and runner.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
)

// version is set by the linker in released binaries.
var version string

// The exit status beside those of package program: the gateway refuses this host for good, so don't restart it.
const exitStayAway = 3

func main() {
	runner.Hook() // this process may be the supervisor of a script
	program.Main(run)
}

// run is the program: it gives the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	status, err := program.Run(ctx, newRoot(), args, in, out, errw)
	if errors.As(err, new(*client.TerminalError)) {
		return exitStayAway
	}
	return status
}

func newRoot() *cobra.Command {
	root := program.Root(&cobra.Command{
		Use:   "rexagent",
		Short: "The program on a host that rexgate runs jobs on",
		Long: `rexagent calls in to a gateway, fetches the jobs that wait for this host, runs
them and reports. It only ever calls out.

Settings are flags, or environment variables (REXAGENT_STATE_DIR for
--state-dir), or keys of a YAML file (state-dir: /var/lib/rexagent) that --config
names, in this order. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Exit status: 0 all well, 1 something failed, 2 wrong usage, 3 the gateway refuses
this host for good (revoked, or no common protocol).`,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}, program.Version(version))
	root.AddCommand(newRun(), newEnroll(), newDoctor(), newVersion())
	return root
}

// load fills what the command line didn't give. One file serves all commands: keys of the
// others are known.
func load(cmd *cobra.Command) error {
	var also []*pflag.FlagSet
	for _, other := range cmd.Root().Commands() {
		also = append(also, other.Flags())
	}
	if _, err := settings.Load(cmd.Flags(), settings.Options{Prefix: settings.PrefixAgent, Also: also}); err != nil {
		return program.Usage(err)
	}
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "rexagent", program.Version(version))
			return err
		},
	}
}
