package main

import (
	"io"
	"os"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/rexctl/safetext"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/queue"
)

type runFlags struct {
	watchFlags
	hosts     []string
	selector  string
	all       bool
	req       api.JobRequest
	env       []string
	urgent    bool
	notBefore string
	pickup    time.Duration
	run       time.Duration
	grace     time.Duration
	detach    bool
}

func (a *app) jobRun() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run {--host ID|--selector S|--all} {FILE|-|-- 'SCRIPT'}",
		Short: "Run a script on hosts, and print their output as it comes",
		Long: `Run submits a job and watches it until it is done on all hosts. The script is a
file, standard input (-), or the text after --. It may begin with any #! line;
without one it is for /bin/sh.

The output of hosts goes to stdout and stderr as on the host, everything else to
stderr. With several hosts each line begins with its host; with more than ` + strconv.Itoa(ctl.DefaultLiveHosts) + `,
a host's output is printed when it has ended there.

Ctrl-C ends the watch, not the job. Exit status: 0 all succeeded, 1 some did
not, 2 usage or no such host, 3 server or authentication, 4 deadline passed,
130 interrupted.`,
		Example: `  rexctl job run --host web1 --host web2 -- 'uptime'
  rexctl job run --selector 'role=web,site in (fra,ams)' --user deploy update.sh
  rexctl job run --all --output failed --run-timeout 5m - <check.py`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			req, err := f.request(a, cmd, args)
			if err != nil {
				return err
			}
			v := a.view(c)
			if err := f.apply(&v); err != nil {
				return err
			}
			if f.detach {
				job, err := c.Submit(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.detached(job)
			}
			return v.Run(cmd.Context(), req)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	p := cmd.Flags()
	p.StringArrayVar(&f.hosts, "host", nil, "on the host with this `ID` (repeatable)")
	p.StringVarP(&f.selector, "selector", "l", "", "on hosts whose labels match, such as role=web,!old")
	p.BoolVar(&f.all, "all", false, "on all hosts")
	p.StringVar(&f.req.Name, "name", "", "name of the job, for people")
	p.StringVar(&f.req.User, "user", "", "`account` to run as on the host (default the agent's)")
	p.StringArrayVar(&f.env, "env", nil, "set a variable: `K=V`, or K to take it from here")
	p.StringVar(&f.req.Dir, "dir", "", "working `directory` (default the account's home)")
	p.StringVar(&f.req.Lane, "lane", "", "queue of the host to wait in (default \"default\")")
	p.BoolVar(&f.urgent, "urgent", false, "short for --lane urgent")
	p.IntVar(&f.req.Priority, "priority", 0, "-100 to 100; higher goes first within a lane")
	p.StringVar(&f.notBefore, "not-before", "", "start at this `time` (RFC 3339) or after this long (such as 2h), not earlier")
	p.DurationVar(&f.pickup, "pickup-timeout", 0, "expire where a host hasn't taken it by then (default 24h)")
	p.DurationVar(&f.run, "run-timeout", 0, "end the script on the host after this time (default 1h)")
	p.DurationVar(&f.grace, "grace", 0, "between TERM and KILL (default 10s)")
	p.Int64Var(&f.req.OutputLimit, "output-limit", 0, "bytes of output to keep of each host (default 4194304)")
	p.StringVar(&f.req.Offline, "offline", "", "where the host is offline: \"wait\" for it, or \"skip\" it (default \"wait\")")
	p.StringVar(&f.req.SupersedeKey, "supersede", "", "cancel your older jobs with this `key` where they still wait")
	p.BoolVar(&f.req.Recheck, "recheck", false, "skip hosts whose labels don't match --selector any more by then")
	p.BoolVar(&f.detach, "detach", false, "print the job's id and don't watch it")
	f.add(cmd)
	_ = cmd.RegisterFlagCompletionFunc("host", a.completeHosts)
	_ = cmd.RegisterFlagCompletionFunc("selector", a.completeSelector)
	_ = cmd.RegisterFlagCompletionFunc("lane", a.completeLanes)
	_ = cmd.RegisterFlagCompletionFunc("offline", cobra.FixedCompletions([]string{"wait", "skip"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// detached prints the id of a job that isn't watched.
func (a *app) detached(job api.Job) error {
	if !a.isTable() {
		return a.emit(job)
	}
	if _, err := a.out.W.Write([]byte(safetext.Line(job.ID) + "\n")); err != nil {
		return err
	}
	a.notef("To watch or cancel it:\n  %s job watch %s\n  %s job cancel %s", a.command(), job.ID, a.command(), job.ID)
	return nil
}

// request makes the job's request of the flags.
func (f *runFlags) request(a *app, cmd *cobra.Command, args []string) (api.JobRequest, error) {
	req := f.req
	req.Hosts, req.Selector, req.All = f.hosts, f.selector, f.all
	kinds := 0
	for _, given := range []bool{len(f.hosts) > 0, cmd.Flags().Changed("selector"), f.all} {
		if given {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return req, ctl.Usagef("no hosts: give --host, --selector or --all")
	case kinds > 1:
		return req, ctl.Usagef("give only one of --host, --selector and --all")
	case cmd.Flags().Changed("selector") && f.selector == "":
		return req, ctl.Usagef("--selector is empty; use --all for all hosts")
	case f.urgent && req.Lane != "" && req.Lane != string(queue.LaneUrgent):
		return req, ctl.Usagef("--urgent and --lane %s contradict each other", req.Lane)
	case f.urgent:
		req.Lane = string(queue.LaneUrgent)
	}
	if err := f.policies(cmd.Flags()); err != nil {
		return req, err
	}
	var err error
	if req.Env, err = parsePairs("--env", f.env, os.LookupEnv); err != nil {
		return req, err
	}
	if f.notBefore != "" {
		at, err := parseTime(f.notBefore, time.Now())
		if err != nil {
			return req, err
		}
		req.NotBefore = &at
	}
	req.PickupTimeout, req.RunTimeout, req.Grace = api.Duration(f.pickup), api.Duration(f.run), api.Duration(f.grace)
	script, err := readScript(args, cmd.ArgsLenAtDash(), a.in)
	if err != nil {
		return req, err
	}
	if utf8.Valid(script) {
		req.Script = string(script)
	} else {
		req.ScriptBase64 = script
	}
	return req, nil
}

// policies checks the flags whose mistakes the server can't see: it takes zero for what wasn't given.
func (f *runFlags) policies(p *pflag.FlagSet) error {
	for name, d := range map[string]time.Duration{"pickup-timeout": f.pickup, "run-timeout": f.run, "grace": f.grace} {
		if p.Changed(name) && d <= 0 {
			return ctl.Usagef("--%s: %v is not possible; leave it out for the default", name, d)
		}
	}
	switch {
	case p.Changed("output-limit") && f.req.OutputLimit <= 0:
		return ctl.Usagef("--output-limit: %d is not possible; leave it out for the default", f.req.OutputLimit)
	case p.Changed("offline") && f.req.Offline != string(queue.OfflineWait) && f.req.Offline != string(queue.OfflineSkip):
		return ctl.Usagef("--offline: %q is none of wait, skip", f.req.Offline)
	case p.Changed("supersede") && f.req.SupersedeKey == "":
		return ctl.Usagef("--supersede is empty")
	case f.req.Recheck && f.selector == "":
		return ctl.Usagef("--recheck goes only with --selector")
	}
	return nil
}

func parseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return now, ctl.Usagef("--not-before: %s is in the past", d)
		}
		return now.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, ctl.Usagef("--not-before: %q is neither a time like 2006-01-02T15:04:05Z nor a duration like 2h", s)
	}
	return t, nil
}

// readScript reads the script from where the arguments say. dash is how many of them are
// before "--", negative if there is none.
func readScript(args []string, dash int, stdin io.Reader) ([]byte, error) {
	if dash == 0 {
		if len(args) != 1 {
			return nil, ctl.Usagef("after --, give the script as one argument, in quotes; got %d", len(args))
		}
		return []byte(args[0]), nil
	}
	switch {
	case dash > 0:
		return nil, ctl.Usagef("give either a file or a script after --, not both")
	case len(args) == 0:
		return nil, ctl.Usagef("no script: give a file, - for stdin, or -- 'SCRIPT'")
	case len(args) > 1:
		return nil, ctl.Usagef("one file, not %d; a script of one line is given after --, in quotes", len(args))
	}
	in, name := stdin, "stdin"
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, ctl.Usagef("script: %w", err)
		}
		defer f.Close()
		in, name = f, args[0]
	}
	b, err := io.ReadAll(io.LimitReader(in, queue.MaxScript+1))
	if err != nil {
		return nil, ctl.Usagef("script: %s: %w", name, err)
	}
	if len(b) == 0 {
		return nil, ctl.Usagef("script: %s is empty", name)
	}
	if len(b) > queue.MaxScript {
		return nil, ctl.Usagef("script: %s has more than %d bytes; fetch large data from within the script", name, queue.MaxScript)
	}
	return b, nil
}
