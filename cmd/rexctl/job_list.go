package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/gateway/api"
)

func (a *app) jobList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first",
		Args:  takes("no arguments", 0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return list(a, listing[api.Job]{
				items: c.Jobs(cmd.Context(), pageSize(limit)), limit: limit, key: "jobs",
				header: []string{"JOB", "AGE", "HOSTS", "DONE", "FAILED", "STATUS", "NAME"},
				row: func(j api.Job) []string {
					return []string{j.ID, age(j.CreatedAt), strconv.Itoa(j.Targets), strconv.Itoa(j.Done), strconv.Itoa(j.Failed), jobStatus(j), j.Name}
				},
				empty: "There are no jobs.",
				more:  "There are older jobs; --limit 0 lists all.",
			})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many; 0 = all")
	return cmd
}

// pageSize asks for no more than a limit needs, one more to know whether there are more.
func pageSize(limit int) int {
	const most = 1000
	if limit <= 0 || limit >= most {
		return most
	}
	return limit + 1
}
