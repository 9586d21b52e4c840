package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) hostLabel() *cobra.Command {
	return &cobra.Command{
		Use:     "label HOST KEY=VALUE... KEY-...",
		Short:   "Set labels of a host (KEY=VALUE), or remove them (KEY-)",
		Example: "  rexctl host label web1 role=web canary-",
		Args:    takes("a host and labels", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			patch, err := labelPatch(args[1:])
			if err != nil {
				return err
			}
			h, err := c.PatchHost(cmd.Context(), args[0], patch)
			if err != nil {
				return err
			}
			if !a.isTable() {
				return a.emit(h)
			}
			_, err = a.out.W.Write([]byte(safetext.Line(pairs(h.Labels)) + "\n"))
			return err
		},
		ValidArgsFunction: a.completeHost,
	}
}

func labelPatch(args []string) (api.HostPatch, error) {
	p := api.HostPatch{Labels: map[string]*string{}}
	for _, arg := range args {
		k, v, set := strings.Cut(arg, "=")
		remove := false
		if !set {
			k, remove = strings.CutSuffix(arg, "-")
		}
		if k == "" || !set && !remove {
			return p, ctl.Usagef("%q is neither KEY=VALUE nor KEY-", arg)
		}
		if _, twice := p.Labels[k]; twice {
			return p, ctl.Usagef("label %s is given twice", k)
		}
		p.Labels[k] = nil
		if set {
			p.Labels[k] = &v
		}
	}
	return p, nil
}
