package program

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		gives  error
		status int
		says   string
	}{
		"all well":              {args: []string{"do"}},
		"a failure":             {args: []string{"do"}, gives: errors.New("no room"), status: ExitFailed, says: "prog: no room\n"},
		"a usage within":        {args: []string{"do"}, gives: fmt.Errorf("--at: %w", Usagef("not a time")), status: ExitUsage, says: "prog: --at: not a time\n"},
		"a status of its own":   {args: []string{"do"}, gives: fmt.Errorf("done: %w", Status(7)), status: 7},
		"an unknown flag":       {args: []string{"do", "--up"}, status: ExitUsage, says: "prog: unknown flag: --up; see prog do --help\n"},
		"an unknown command":    {args: []string{"undo"}, status: ExitUsage, says: "prog: there is no command \"undo\"; see prog --help\n"},
		"arguments too many":    {args: []string{"do", "it"}, status: ExitUsage, says: "prog: prog do takes no arguments; got \"it\"\n"},
		"a config that is text": {args: []string{"do", "--config", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := Root(&cobra.Command{Use: "prog"}, "1")
			root.AddCommand(&cobra.Command{Use: "do", Args: NoArgs, RunE: func(*cobra.Command, []string) error { return c.gives }})
			var out, errw strings.Builder
			status, err := Run(context.Background(), root, c.args, nil, &out, &errw)
			if status != c.status || (err != nil) != (c.status != 0) || errw.String() != c.says {
				t.Errorf("status %d, error %v, said %q; want %d and %q", status, err, errw.String(), c.status, c.says)
			}
		})
	}
}

func TestUsageOfNothing(t *testing.T) {
	if err := Usage(nil); err != nil {
		t.Errorf("no mistake gives %v", err)
	}
}

func TestVersion(t *testing.T) {
	if v := Version("1.2.3"); v != "1.2.3" {
		t.Errorf("the linker's version is %q", v)
	}
	if Version("") == "" {
		t.Error("no version at all")
	}
}
