// Command rexctl is the operator's command line: it submits jobs, shows what becomes of
// them, and manages hosts. Each verb is in a file of its own; what runs and shows a job is in
// package ctl, and how texts are worded is said there.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/term"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

func main() {
	ctx, stop := ctl.Interruptible(context.Background())
	status := run(ctx, os.Args[1:], streams{
		in:  os.Stdin,
		out: ctl.FileTerminal(os.Stdout),
		err: ctl.FileTerminal(os.Stderr),
		tty: term.IsTerminal(int(os.Stdin.Fd())),
	})
	stop()
	os.Exit(status)
}

// streams is where rexctl reads and writes.
type streams struct {
	in       io.Reader
	out, err ctl.Terminal
	tty      bool // a person types what is read
}

// run is the program: it gives the exit status.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out.W)
	root.SetErr(s.err.W)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started && ctl.StatusOf(err) != ctl.ExitUsage {
		// cobra's own errors are about the command line.
		err = ctl.Usagef("%w; see %s --help", err, cmd.CommandPath())
	}
	return ctl.Finish(s.err.W, "rexctl", err)
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return info.Main.Version + " " + s.Value
		}
	}
	return info.Main.Version
}
