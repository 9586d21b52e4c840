package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/cmd/settings"
)

// app is what all verbs share: the streams and the settings.
type app struct {
	streams
	started bool // a verb runs: errors are no longer cobra's

	flags     *pflag.FlagSet // that are settings
	server    string
	tokenFile string
	caFile    string
	plainHTTP bool
	format    string
	given     []string // settings from the command line, as typed
}

func (a *app) root() *cobra.Command {
	root := a.group("rexctl", "Run scripts on hosts through rexgate, and watch them",
		`rexctl submits jobs to a rexgate server, shows what becomes of them, and manages
hosts.

Settings are flags, or environment variables (REXCTL_SERVER for --server), or
keys of a YAML file (server: https://gate.example), in this order. The file is
~/.config/rexctl/config.yaml, or what --config names.

Exit status: 0 all succeeded, 1 some failed, 2 usage, or there is no such thing
(a job, a host, a host that a selector matches), 3 server or authentication,
4 deadline passed, 130 interrupted.`)
	root.Version = version()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return ctl.Usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", defaultServer, "`URL` of the server")
	f.StringVar(&a.tokenFile, "token-file", "", "`file` with the operator's token (default ~/.config/rexctl/token)")
	f.StringVar(&a.caFile, "ca", "", "PEM `file` of certificates to trust as well")
	f.BoolVar(&a.plainHTTP, "allow-plain-http", false, "send the token in clear to a server off this machine")
	f.StringVarP(&a.format, "format", "o", string(ctl.Table), "output format: table, json or jsonl")
	f.String(settings.FileFlag, "", "settings `file`")
	a.flags = f
	_ = root.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json", "jsonl"}, cobra.ShellCompDirectiveNoFileComp))

	job := a.group("job", "Submit, watch and end jobs", "")
	job.AddCommand(a.jobRun(), a.jobWatch(), a.jobLogs(), a.jobList(), a.jobShow(), a.jobWhy(), a.jobCancel(), a.jobRerun())
	host := a.group("host", "Show and manage hosts", "")
	host.AddCommand(a.hostList(), a.hostShow(), a.hostLabel(), a.hostPurge(), a.hostRevoke(), a.hostDelete(), a.hostResolve())
	token := a.group("token", "Make tokens", "")
	token.AddCommand(a.tokenEnroll())
	root.AddCommand(job, host, token)
	return root
}

// group makes a command that only holds others.
func (a *app) group(use, short, long string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return ctl.Usagef("there is no command %q; see %s --help", strings.Join(args, " "), cmd.CommandPath())
			}
			cmd.SetOut(a.err.W)
			if err := cmd.Help(); err != nil {
				return err
			}
			return &ctl.Error{Status: ctl.ExitUsage}
		}}
}

// takes says how many arguments a verb takes; most -1 = any number.
func takes(what string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		return ctl.Usagef("%s takes %s, got %s; see %s --help",
			strings.TrimPrefix(cmd.CommandPath(), "rexctl "), what, ctl.Plural(len(args), "argument"), cmd.CommandPath())
	}
}

// defaultServer is where rexgate serve listens unless told otherwise.
const defaultServer = "http://127.0.0.1:8080"

// load fills the settings that were not given as flags.
func (a *app) load() error {
	o := settings.Options{Prefix: settings.PrefixCtl}
	if dir, err := configDir(); err == nil {
		o.DefaultFile = filepath.Join(dir, "config.yaml")
	}
	all, err := settings.Load(a.flags, o)
	if err != nil {
		return ctl.Usagef("%w", err)
	}
	a.given = nil
	for _, s := range all {
		if s.Source == settings.FromFlag && s.Name != "format" {
			a.given = append(a.given, "--"+s.Name+"="+shellQuote(s.Value))
		}
	}
	switch ctl.Format(a.format) {
	case ctl.Table, ctl.JSON, ctl.JSONL:
		return nil
	}
	return ctl.Usagef("--format: %q is none of table, json, jsonl", a.format)
}

// client loads the settings and makes the client of the SDK.
func (a *app) client() (*operator.Client, error) {
	a.started = true
	if err := a.load(); err != nil {
		return nil, err
	}
	return a.connect(retryFor)
}

// retryFor is how long a request is repeated: someone waits for the answer. A watch is more
// patient.
const retryFor = 5 * time.Second

func (a *app) connect(retry time.Duration) (*operator.Client, error) {
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	o := operator.Options{
		Server: a.server, Token: token, AllowPlainHTTP: a.plainHTTP,
		RetryFor: retry, UserAgent: "rexctl/" + strings.Fields(version() + " ?")[0],
	}
	if a.caFile != "" {
		if o.CA, err = os.ReadFile(a.caFile); err != nil {
			return nil, ctl.Usagef("--ca: %w", err)
		}
	}
	c, err := operator.New(o)
	if err != nil {
		return nil, ctl.Usagef("--%w", err)
	}
	return c, nil
}

// token finds the token's file: as set, or the user's.
func (a *app) token() (func() (string, error), error) {
	path := a.tokenFile
	if path == "" {
		dir, err := configDir()
		if err != nil {
			return nil, ctl.Usagef("--token-file is not set, and there is no place for a default: %w", err)
		}
		path = filepath.Join(dir, "token")
		if _, err := os.Stat(path); err != nil {
			return nil, &ctl.Error{Status: ctl.ExitServer, Err: fmt.Errorf(
				"no token: --token-file and REXCTL_TOKEN_FILE are not set, and %s isn't there; rexgate token operator makes one, on the server", path)}
		}
	}
	return operator.TokenFile(path), nil
}

// configDir is where rexctl's files are, on every system.
func configDir() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "rexctl"), nil
}

// view is how jobs are shown with these settings.
func (a *app) view(c *operator.Client) ctl.View {
	return ctl.View{Client: c, Out: a.out, Err: a.err, Format: ctl.Format(a.format), Command: a.command()}
}

// command is what to type for this rexctl with this server.
func (a *app) command() string { return strings.Join(append([]string{"rexctl"}, a.given...), " ") }

func (a *app) notef(format string, args ...any) { fmt.Fprintf(a.err.W, format+"\n", args...) }

// shellQuote quotes s for a POSIX shell where that is needed.
func shellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@%+=,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
