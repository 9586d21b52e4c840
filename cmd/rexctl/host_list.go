package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) hostList() *cobra.Command {
	var (
		selector        string
		online, offline bool
		limit           int
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List hosts",
		Args:  takes("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			q := operator.HostQuery{Selector: selector, Limit: pageSize(limit)}
			switch {
			case online && offline:
				return ctl.Usagef("give only one of --online and --offline")
			case online || offline:
				q.Online = &online
			}
			return list(a, listing[api.Host]{
				items: c.Hosts(cmd.Context(), q), limit: limit, key: "hosts",
				header: []string{"HOST", "PRESENCE", "SINCE", "AGENT", "LABELS"},
				row: func(h api.Host) []string {
					return []string{h.ID, presence(h), since(h.Since), h.AgentVersion, pairs(h.Labels)}
				},
				empty: "There are no such hosts.",
				more:  "There are more hosts; --limit 0 lists all.",
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.StringVarP(&selector, "selector", "l", "", "only hosts whose labels match, such as role=web,!old")
	f.BoolVar(&online, "online", false, "only hosts that are online")
	f.BoolVar(&offline, "offline", false, "only hosts that are offline")
	f.IntVar(&limit, "limit", 0, "how many; 0 = all")
	_ = cmd.RegisterFlagCompletionFunc("selector", a.completeSelector)
	return cmd
}

// presence says whether a host is there, and what is wrong with it.
func presence(h api.Host) string {
	var parts []string
	switch {
	case h.Revoked:
		parts = append(parts, "revoked")
	case h.Online && h.Transport == "":
		parts = append(parts, "online")
	case h.Online:
		parts = append(parts, h.Transport)
	default:
		parts = append(parts, "offline")
	}
	if h.DuplicateSince != nil {
		parts = append(parts, "duplicate")
	}
	return strings.Join(parts, ", ")
}

func since(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return age(*t)
}
