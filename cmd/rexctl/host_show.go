package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/gateway/api"
)

// hostView is a host with what it has to do.
type hostView struct {
	api.Host
	Queue []api.Execution `json:"queue"`
}

func (a *app) hostShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show HOST",
		Short: "Show a host and its queue",
		Args:  takes("one host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			h, err := c.Host(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			queue, err := c.HostQueue(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !a.isTable() {
				return a.emit(hostView{h, queue})
			}
			return a.printHost(h, queue)
		},
		ValidArgsFunction: a.completeHost,
	}
}

func (a *app) printHost(h api.Host, queue []api.Execution) error {
	t := newTable(a.out)
	t.row("host", h.ID)
	t.row("presence", presence(h))
	if h.Since != nil {
		t.row("since", when(h.Since))
	}
	if h.PollDue != nil {
		t.row("poll due", when(h.PollDue))
	}
	optional(t, "gateway", h.Gateway)
	optional(t, "agent", h.AgentVersion)
	t.row("labels", pairs(h.Labels))
	t.row("enrolled", fmt.Sprintf("%s, incarnation %d", when(&h.EnrolledAt), h.Incarnation))
	for i, k := range sortedKeys(h.Facts) {
		name := ""
		if i == 0 {
			name = "facts"
		}
		t.row(name, k+"="+h.Facts[k])
	}
	if err := t.flush(); err != nil {
		return err
	}
	if h.DuplicateSince != nil {
		a.notef("\nTwo machines have used this identity since %s; neither gets work. Stop one of them,\nthen:\n  %s host resolve %s",
			when(h.DuplicateSince), a.command(), shellQuote(h.ID))
	}
	if len(queue) == 0 {
		return nil
	}
	if _, err := a.out.W.Write([]byte("\n")); err != nil {
		return err
	}
	q := newTable(a.out, "JOB", "LANE", "PRIORITY", "RELEASED", "STATE", "WHY")
	q.wrap = true
	for _, x := range queue {
		q.row(x.Job, x.Lane, fmt.Sprint(x.Priority), since(x.ReleasedAt), ctl.Outcome(x), reason(x))
	}
	return q.flush()
}
