// Command rexgate is the server: it keeps the jobs, and carries them to the hosts that call in.
package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/program"
)

// version is set by the linker in released binaries.
var version string

func main() {
	runner.Hook() // this process may be the supervisor of a script of the demo
	program.Main(run)
}

// run is the program: it gives the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	status, _ := program.Run(ctx, newRoot(), args, in, out, errw)
	return status
}

func newRoot() *cobra.Command {
	root := program.Root(&cobra.Command{
		Use:   "rexgate",
		Short: "Runs jobs on hosts that can only call out over HTTP(S)",
		Long: `rexgate keeps jobs in a durable queue per host and carries them to hosts that can
only call out over HTTP(S).

Settings are flags, or environment variables (REXGATE_LISTEN for --listen), or
keys of a YAML file (listen: 127.0.0.1:8080) that --config names, in this order.
Secrets come from files.`,
	}, program.Version(version))
	root.AddCommand(newServe(), newDemo(), newCheckConfig(), newToken())
	return root
}
