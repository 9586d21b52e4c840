package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/loadtest/stand"
)

// prefix of the environment variables.
const prefix = "REXLOAD_"

// config are the settings of run.
type config struct {
	hosts       int
	transport   string
	duration    time.Duration
	pollWait    time.Duration
	settle      time.Duration
	server      string
	tokenFile   string
	caFile      string
	gatewayURLs []string
	metrics     []string
	plainHTTP   bool
	store       string
	gateways    int
	tls         bool
	rexgate     string
	redisServer string
	serveFlags  []string
	redisFlags  []string
	standDir    string
	admission   bool
	real        bool
	volatile    bool
	dir         string
	state       string
	workers     int
	connectRate float64
	checkOutput string
	patience    time.Duration
	out         string
	profile     string
	scriptFile  string
	quiet       bool
}

func (c *config) flags(fs *pflag.FlagSet) {
	fs.IntVar(&c.hosts, "hosts", 0, "how many hosts (default: the scenario's, 1000)")
	fs.StringVar(&c.transport, "transport", "", "socket, poll or auto for all, or a mix such as socket=90,poll=10\n(default: the scenario's)")
	fs.StringVar(&c.scriptFile, "script-file", "", "file with the script of the scenario script")
	fs.DurationVar(&c.duration, "for", 0, "how long idle or polling hosts are watched (default: the scenario's, 1m)")
	fs.DurationVar(&c.settle, "settle", 2*time.Second, "how long connected hosts are left alone before a job")
	fs.DurationVar(&c.pollWait, "poll-wait", 0, "how long a poll asks to be held; negative = not at all\n(default: as real agents do, but in the scenario poll not at all)")
	fs.StringVar(&c.server, "server", "", "URL of a service that runs already, instead of one that is started for the run")
	fs.StringVar(&c.tokenFile, "token-file", "", "file with an operator's token for --server")
	fs.StringVar(&c.caFile, "ca", "", "PEM file of the CA to trust at --server, if it isn't the system's")
	fs.StringSliceVar(&c.gatewayURLs, "gateway", nil, "further gateway of --server that hosts may use; may be repeated")
	fs.StringSliceVar(&c.metrics, "metrics", nil, "URL of the admin listener of a gateway of --server, to sample it; may be repeated")
	fs.BoolVar(&c.plainHTTP, "allow-plain-http", false, "allow an http:// --server that isn't on this machine")
	fs.StringVar(&c.store, "store", stand.SQLite, "store of the service that is started: sqlite or redis")
	fs.IntVar(&c.gateways, "gateways", 1, "its gateways; several need redis")
	fs.BoolVar(&c.tls, "tls", false, "have them speak TLS, with a CA made for the run")
	fs.StringVar(&c.rexgate, "rexgate", "", "the program rexgate (default: beside rexload, or built if this is its source tree, or on PATH)")
	fs.StringVar(&c.redisServer, "redis-server", "redis-server", "the program redis-server")
	fs.StringArrayVar(&c.serveFlags, "serve-flag", nil, "flag for rexgate serve, such as --serve-flag=--poll-rate=200; may be repeated")
	fs.StringArrayVar(&c.redisFlags, "redis-flag", nil, "argument for redis-server; may be repeated")
	fs.StringVar(&c.standDir, "store-dir", "", "directory for the store of the service that is started, which decides on its disk\n(default: the one for temporary files)")
	fs.BoolVar(&c.admission, "admission", false, "leave the gateways' admission of hosts as it is by default, instead of opening it")
	fs.BoolVar(&c.real, "real", false, "run scripts as real, supervised processes")
	fs.BoolVar(&c.volatile, "volatile", false, "keep the journals of simulated hosts in memory instead of files")
	fs.StringVar(&c.dir, "dir", "", "where hosts keep their state, in a fresh directory (default: /dev/shm if that is memory,\nelse the one for temporary files)")
	fs.StringVar(&c.state, "state", "", "directory that keeps the enrolled fleet for another run against the same --server")
	fs.IntVar(&c.workers, "workers", 0, "least number of processes that carry the fleet (default: as many as descriptors need)")
	fs.Float64Var(&c.connectRate, "connect-rate", 1000, "hosts that begin to connect in a second")
	fs.StringVar(&c.checkOutput, "check-output", "200", "executions whose output is compared byte for byte; all = each")
	fs.DurationVar(&c.patience, "patience", 5*time.Minute, "bound of each wait of the run")
	fs.StringVar(&c.out, "out", "", "directory for result.json, the text and the plots; made if it isn't there\n(default: nothing is written)")
	fs.StringVar(&c.profile, "profile", "", "directory for CPU and heap profiles of gateways and fleet, which cost some CPU themselves")
	fs.BoolVar(&c.quiet, "quiet", false, "no progress on standard error")
}

func newRun() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario and print its report",
		Long: `Runs a scenario (see rexload list), prints its report, and writes it with the plots to
--out. Without --server a store and gateways are started for the run on this
machine, and ended with it.`,
		Example: "  rexload run fan-out --hosts 5000\n  rexload run echo-sleep --hosts 5000 --store redis --gateways 2 --transport socket=90,poll=10 --out result\n" +
			"  rexload run idle --hosts 2000 --server https://gate.example --token-file token",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return program.Usagef("%s takes one scenario; see rexload list", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := settings.Load(cmd.Flags(), settings.Options{Prefix: prefix}); err != nil {
				return program.Usage(err)
			}
			lc, err := c.load(args[0])
			if err != nil {
				return program.Usage(err)
			}
			return c.run(cmd.Context(), lc, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// load makes the core's configuration of the settings.
func (c *config) load(scenario string) (loadtest.Config, error) {
	lc := loadtest.Config{
		Hosts: c.hosts, For: c.duration, PollWait: c.pollWait, Settle: c.settle, Server: strings.TrimRight(c.server, "/"), CA: c.caFile, Gateways: c.gatewayURLs, Metrics: c.metrics,
		PlainHTTP: c.plainHTTP, Admission: c.admission, Real: c.real, Volatile: c.volatile, Dir: c.dir, State: c.state, Workers: c.workers,
		ConnectRate: c.connectRate, Patience: c.patience, Profile: c.profile, Version: program.Version(version), Command: append([]string{"rexload"}, os.Args[1:]...),
		Stand: stand.Config{
			Store: c.store, Gateways: c.gateways, TLS: c.tls, Dir: c.standDir, Args: c.serveFlags, RedisServer: c.redisServer, RedisArgs: c.redisFlags,
		},
	}
	var err error
	if lc.Scenario, err = loadtest.FindScenario(scenario); err != nil {
		return lc, err
	}
	if (scenario == "script") != (c.scriptFile != "") {
		return lc, errors.New("--script-file: for the scenario script, which needs it")
	}
	if c.scriptFile != "" {
		b, err := os.ReadFile(c.scriptFile)
		if err != nil {
			return lc, fmt.Errorf("--script-file: %w", err)
		}
		lc.Scenario = loadtest.Script(string(b))
		if _, err := loadtest.ParseScript(string(b)); err != nil && !c.real {
			return lc, fmt.Errorf("--script-file: %w; --real runs any script", err)
		}
	}
	if c.hosts < 0 || c.workers < 0 || c.duration < 0 {
		return lc, errors.New("--hosts, --workers and --for: must not be negative")
	}
	if !(c.connectRate > 0) || c.patience <= 0 || c.settle <= 0 {
		return lc, errors.New("--connect-rate, --patience and --settle: must be more than 0")
	}
	if c.transport != "" {
		if lc.Mix, err = loadtest.ParseMix(c.transport); err != nil {
			return lc, fmt.Errorf("--transport: %w", err)
		}
	}
	if lc.CheckOutput, err = parseCheck(c.checkOutput); err != nil {
		return lc, err
	}
	if c.server == "" {
		if c.tokenFile != "" || c.state != "" || c.caFile != "" || len(c.gatewayURLs) > 0 || len(c.metrics) > 0 {
			return lc, errors.New("--token-file, --ca, --gateway, --metrics and --state: only with --server")
		}
		return lc, nil
	}
	if c.tokenFile == "" {
		return lc, errors.New("--token-file: --server needs an operator's token")
	}
	lc.Token = operator.TokenFile(c.tokenFile)
	return lc, nil
}

func parseCheck(s string) (int, error) {
	if s == "all" {
		return -1, nil
	}
	var n int
	if _, err := fmt.Sscanf(s+"\n", "%d\n", &n); err != nil || n < 1 {
		return 0, fmt.Errorf("--check-output: %q is neither all nor a number above 0", s)
	}
	return n, nil
}

// run does the run, and shows what came of it.
func (c *config) run(ctx context.Context, lc loadtest.Config, out, errw io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	lc.Worker = []string{self, workerCommand}
	if lc.Server == "" {
		path, remove, err := findRexgate(ctx, c.rexgate, self, errw)
		if err != nil {
			return err
		}
		defer remove()
		lc.Stand.Rexgate = path
	}
	if !c.quiet {
		lc.Progress, lc.ProgressEvery = errw, 10*time.Second
		if f, ok := errw.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			lc.ProgressEvery = time.Second
		}
	}
	o, err := loadtest.Run(ctx, lc)
	for _, w := range o.Wrong {
		fmt.Fprintf(errw, "rexload: %s\n", w)
	}
	if ctx.Err() != nil {
		return errors.New("ended by a signal")
	}
	if err != nil {
		return err
	}
	if err := show(o.Result, c.out, out); err != nil {
		return err
	}
	if len(o.Wrong) > 0 {
		return program.Status(exitWrong)
	}
	return nil
}
