// Command rexload makes load with a fleet of simulated hosts, and reports how the service bears it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/loadtest"
)

// version is set by the linker in released binaries.
var version string

// Exit statuses.
const (
	exitFailed = 1 // the run couldn't be done
	exitUsage  = 2
	exitWrong  = 3 // it was done, and something was lost or wrong
)

func main() {
	runner.Hook() // this process may be the supervisor of a script
	// The first signal asks to end in good order; after it the default action is back.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// usageError is a mistake of whoever typed the command.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// statusError ends the program with a status of its own; what is to be said has been said.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run is the program: it gives the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var status statusError
	if errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintf(errw, "rexload: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
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
		Version:           versionText(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q; see rexload --help", args[0])}
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.PersistentFlags().String(settings.FileFlag, "", "YAML `file` of settings")
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
		Use: "list", Short: "List the scenarios", Args: noArgs,
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

// noArgs refuses arguments of a command that has none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments; got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
