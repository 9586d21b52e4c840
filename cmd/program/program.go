// Package program is what the programs have in common: how they begin and end, what their exit
// status says, and how they tell their version.
package program

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

	"github.com/rexgate/rexgate/cmd/settings"
)

// Exit statuses. Programs may add their own, from 3 on.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// Status is an error that ends the program with this exit status, in silence: what is to be said has been said.
type Status int

func (s Status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// UsageError is a mistake of whoever typed the command. It ends the program with ExitUsage.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Usage makes an error one of usage; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{err}
}

// Usagef is fmt.Errorf for a mistake of usage.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Main calls run with the command line, under a context that the first SIGINT or SIGTERM ends, and exits with what it
// gives. A second signal ends the program at once.
func Main(run func(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// Run runs a root command, says on errw what went wrong, and gives the exit status and the error.
func Run(ctx context.Context, root *cobra.Command, args []string, in io.Reader, out, errw io.Writer) (int, error) {
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0, nil
	}
	if status := Status(0); errors.As(err, &status) {
		return int(status), err
	}
	fmt.Fprintf(errw, "%s: %v\n", root.Name(), err)
	if errors.As(err, new(*UsageError)) {
		return ExitUsage, err
	}
	return ExitFailed, err
}

// Root makes a command the root of a program with settings: alone it shows its help.
func Root(root *cobra.Command, version string) *cobra.Command {
	root.Version = version
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Args = cobra.ArbitraryArgs
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return Usagef("there is no command %q; see %s --help", args[0], cmd.Name())
		}
		return cmd.Help()
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return Usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.PersistentFlags().String(settings.FileFlag, "", "YAML `file` of settings")
	return root
}

// NoArgs refuses arguments of a command that has none.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("%s takes no arguments; got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// Version is the version that the linker set, or else that of the module.
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
