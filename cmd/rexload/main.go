// Command rexload makes load with a fleet of simulated hosts, and reports how the service bears it.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/loadtest"
)

// version is set by the linker in released binaries.
var version string

// The exit status beside those of package program: it was done, and something was lost or wrong.
const exitWrong = 3

func main() {
	runner.Hook() // this process may be the supervisor of a script
	program.Main(run)
}

// run is the program: it gives the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	status, _ := program.Run(ctx, newRoot(), args, in, out, errw)
	return status
}

func newRoot() *cobra.Command {
	root := program.Root(&cobra.Command{
		Use:   "rexload",
		Short: "Makes load with a fleet of simulated hosts",
		Long: `rexload connects a fleet of hosts to a service of rexgate gateways, gives them work,
and reports how long each step took, and what that took in CPU and memory. Each
host has the link, the agent, the journal and the key of a real one; only scripts
are simulated, unless --real is given.

Settings are flags, or environment variables (REXLOAD_HOSTS for --hosts), or keys
of a YAML file (hosts: 5000) that --config names, in this order.

Exit status: 0 all well, 1 the run couldn't be done, 2 wrong usage, 3 something was
lost or wrong.`,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}, program.Version(version))
	root.AddCommand(newRun(), newList(), newShow(), newCompare(), newWorker())
	return root
}

// newWorker is the command that rexload calls itself with.
func newWorker() *cobra.Command {
	return &cobra.Command{
		Use: workerCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// An interrupt of the group is the parent's business, which ends the worker in good order.
			return loadtest.Worker(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

const workerCommand = "worker"

func newList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, s := range loadtest.Scenarios() {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-11s %s\n", s.Name, s.About); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
