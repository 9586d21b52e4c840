// Command rexagent is the program on a host: it calls in to a gateway, fetches
// jobs, runs them, and reports. Here are flags and wiring only; what it does is
// in packages client, agent and runner.
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
	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/settings"
)

// version is set by the linker in released binaries.
var version string

// Exit statuses.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitStayAway = 3 // the gateway said that this agent must not come back by itself: don't restart it
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
	fmt.Fprintf(errw, "rexagent: %v\n", err)
	switch {
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, new(*client.TerminalError)):
		return exitStayAway
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "rexagent",
		Short: "The program on a host that rexgate runs jobs on",
		Long: `rexagent calls in to a gateway, fetches the jobs that wait for this host, runs
them and reports. It only ever calls out.

Settings are flags, or environment variables (REXAGENT_STATE_DIR for
--state-dir), or keys of a YAML file (state-dir: /var/lib/rexagent) that --config
names, in this order. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

Exit status: 0 all well, 1 something failed, 2 wrong usage, 3 the gateway refuses
this host for good (revoked, or no common protocol).`,
		Version:           versionText(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("there is no command %q; see rexagent --help", args[0])}
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.PersistentFlags().String(settings.FileFlag, "", "YAML `file` of settings")
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
		return usageError{err}
	}
	return nil
}

// noArgs refuses arguments of a command that has none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments; got %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "rexagent", versionText())
			return err
		},
	}
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
