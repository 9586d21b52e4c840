package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/loadtest/report"
)

// show prints the report, and writes it to a directory if one is named.
func show(r *report.Result, dir string, out io.Writer) error {
	err := report.Text(out, r)
	if dir != "" {
		err = errors.Join(err, report.Write(dir, r))
	}
	return err
}

func newShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DIRECTORY", Short: "Print a run's report again, and make its text and plots anew", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return report.Show(cmd.OutOrStdout(), args[0]) },
	}
}

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use: "compare BEFORE AFTER", Short: "Print two runs side by side", Args: exactly(2),
		Long: "Prints what two runs measured side by side, and in what they differ. Each is named by its directory\nor its result.json.",
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := report.Read(args[0])
			if err != nil {
				return err
			}
			after, err := report.Read(args[1])
			if err != nil {
				return err
			}
			return report.Compare(cmd.OutOrStdout(), before, after)
		},
	}
}

// exactly wants so many arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return program.Usagef("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
