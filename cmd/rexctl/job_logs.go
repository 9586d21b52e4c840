package main

import (
	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
)

func (a *app) jobLogs() *cobra.Command {
	var (
		sel    selectFlags
		stream string
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "logs JOB [HOST...]",
		Short: "Print what a job's hosts have put out",
		Long: `Logs prints the output that is stored, stdout to stdout and stderr to stderr. Of
one host it is exactly the bytes that the script wrote, unless it goes to a
terminal, where control characters are shown as escapes. Of several hosts, each
line begins with its host.`,
		Args: takes("a job, and hosts if not all are wanted", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			r := ctl.LogsRequest{Job: args[0], Hosts: args[1:], States: sel.selected(), Stream: stream, Follow: follow}
			switch {
			case stream != operator.Both && stream != operator.Stdout && stream != operator.Stderr:
				return ctl.Usagef("--stream: %q is none of stdout, stderr", stream)
			case len(r.Hosts) > 0 && len(r.States) > 0:
				return ctl.Usagef("give either hosts or states, not both")
			case ctl.Format(a.format) == ctl.JSON:
				return ctl.Usagef("--format json isn't possible for output; use jsonl")
			}
			return a.view(c).Logs(cmd.Context(), r)
		},
		ValidArgsFunction: a.completeJobAndTargets,
	}
	f := cmd.Flags()
	sel.add(a, cmd, false)
	f.StringVar(&stream, "stream", "", "only stdout or stderr (default both)")
	f.BoolVarP(&follow, "follow", "f", false, "go on until the executions have ended")
	_ = cmd.RegisterFlagCompletionFunc("stream", cobra.FixedCompletions([]string{"stdout", "stderr"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
