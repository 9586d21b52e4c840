package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) tokenEnroll() *cobra.Command {
	var (
		req    api.EnrollTokenRequest
		labels []string
		ttl    time.Duration
	)
	cmd := &cobra.Command{
		Use:   "enroll",
		Short: "Make a token with which hosts enrol",
		Long: `Enroll prints a token for rexagent enroll. Who has it can enrol hosts within its
bounds until it expires: keep it in a file, and give that file to the host.`,
		Example: "  rexctl token enroll --hosts 'web*' --label role=web --uses 20 >enroll.token",
		Args:    takes("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if req.Labels, err = parsePairs("--label", labels, nil); err != nil {
				return err
			}
			if req.Uses < -1 || cmd.Flags().Changed("uses") && req.Uses == 0 {
				return ctl.Usagef("--uses: %d is neither a number of hosts nor -1", req.Uses)
			}
			req.TTL = api.Duration(ttl)
			token, err := c.EnrollToken(cmd.Context(), req)
			if err != nil {
				return err
			}
			if !a.isTable() {
				return a.emit(token)
			}
			if _, err := a.out.W.Write([]byte(token.Token + "\n")); err != nil {
				return err
			}
			a.notef("The token is valid until %s.", when(&token.Expires))
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVar(&req.Hosts, "hosts", "", "shell `pattern` of the ids that hosts may take (default any)")
	f.StringArrayVar(&labels, "label", nil, "label that the hosts get: `K=V` (repeatable)")
	f.IntVar(&req.Uses, "uses", 1, "how many hosts; -1 = any number")
	f.DurationVar(&ttl, "ttl", 0, "how long it is valid, at most 720h (default 1h)")
	f.BoolVar(&req.Replace, "replace", false, "also for hosts that are enrolled already")
	f.StringVar(&req.URL, "url", "", "`URL` of the server as hosts reach it (default the server's own setting)")
	return cmd
}
