package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/session/wire"
)

// runConfig is what run is told.
type runConfig struct {
	place
	logging
	once      bool
	transport string
	slots     map[string]string
	allowRoot bool
	keep      time.Duration
	endAll    bool
}

func newRun() *cobra.Command {
	var c runConfig
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Fetch jobs and run them, until it is told to end",
		Long: `Keeps a session to a gateway, and runs the jobs that come. When it ends, scripts
run on, each under a supervisor of its own; the next rexagent on the same state
directory takes them up again.

With --once it fetches what waits for this host, runs that, reports and ends, for
cron and the like; the status is 0 if nothing waited or all was reported,
whatever became of the scripts.`,
		Args: program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := load(cmd); err != nil {
				return err
			}
			log, err := c.logger(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return c.run(cmd.Context(), log)
		},
	}
	fs := cmd.Flags()
	c.place.flags(fs)
	c.logging.flags(fs)
	fs.StringSliceVar(&c.gateways, "gateway", nil, "`URLs` of gateways, in order of preference (default: as enrolled)")
	fs.StringVar(&c.transport, "transport", "auto", "socket, poll, or auto: the socket, or the poll while that doesn't work")
	fs.StringToStringVar(&c.slots, "slots", nil, "how many executions of a `lane=n` may run at a time (default: 1 of each)")
	fs.Lookup("slots").DefValue = "" // which the help would show as []
	fs.BoolVar(&c.allowRoot, "allow-root", false, "let jobs run as root, those that name no user too")
	fs.DurationVar(&c.keep, "keep-output", agent.DefaultKeep, "how long output is kept here once it is stored there")
	fs.BoolVar(&c.endAll, "end-leftovers", false, "end what a script leaves running in the background when it ends; by default that lives on")
	fs.BoolVar(&c.once, "once", false, "fetch, run, report, and end")
	must(settings.CommandLineOnly(fs, "once"))
	return cmd
}

// must is for what fails only if a flag's name is mistyped here.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (c *runConfig) run(ctx context.Context, log *slog.Logger) (err error) {
	slots, err := c.lanes()
	if err != nil {
		return err
	}
	id, cfg, err := c.link(c.transport)
	if err != nil {
		return err
	}
	log = log.With("host", id.Host().Host)
	cfg.Log = log
	unlock, err := agent.Lock(c.stateDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	link, err := client.NewLink(cfg)
	if err != nil {
		return err
	}
	boot, err := runner.BootID()
	if err != nil {
		return err
	}
	machine, noMachine := machineID("/")
	scripts := runner.New()
	cgroups, noCgroups := runner.OwnCgroups(filepath.Join(c.stateDir, "x"))
	scripts.Cgroups = cgroups
	a, err := agent.New(agent.Config{
		Dir: c.stateDir, Runner: scripts, Fetch: link.Script,
		Policy: agent.UserPolicy{AllowRoot: c.allowRoot}, Slots: slots,
		Version: program.Version(version), BootID: boot, MachineID: machine, Facts: facts,
		Keep: c.keep, EndAll: c.endAll, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if os.Geteuid() == 0 && !c.allowRoot {
		log.Warn("jobs that name no user will be rejected: this agent runs as root, and --allow-root isn't set")
	}
	if noMachine != nil {
		log.Warn("this machine has no id: if the state directory is copied to another machine, that isn't noticed there", "why", noMachine)
	}
	defer func() {
		if ctx.Err() != nil {
			log.Info("rexagent stops; its scripts run on, and the next one takes them up", "scripts", a.Scripts())
		}
	}()
	if c.once {
		return link.RunOnce(ctx, a, 0)
	}
	if noCgroups != nil {
		log.Info("scripts get no cgroups; what they started is found by its descent when they are cancelled", "why", noCgroups)
	}
	log.Info("rexagent runs", "version", program.Version(version), "state_dir", c.stateDir, "gateways", strings.Join(cfg.Gateways, " "))
	return link.Run(ctx, a)
}

// lanes reads the slots. What a gateway would refuse is refused here, where it can
// be mended.
func (c *runConfig) lanes() (map[string]int, error) {
	slots := map[string]int{}
	for lane, v := range c.slots {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, program.Usagef("--slots: %s=%s: not a number", lane, v)
		}
		slots[lane] = n
	}
	frame, err := wire.Encode(&wire.Hello{Generation: "g", Nonce: "n", Slots: slots})
	if err == nil {
		_, err = wire.Decode(frame)
	}
	if err != nil {
		return nil, program.Usagef("--slots: %w", err)
	}
	return slots, nil
}

// machineID tells this machine from another with a copy of its state directory, by the first id that is kept under
// root; "" and why if there is none.
func machineID(root string) (id string, err error) {
	var why []string
	for _, file := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} { // of systemd, and of systems without
		file = filepath.Join(root, file)
		b, err := os.ReadFile(file)
		id := strings.TrimSpace(string(b))
		switch {
		case err != nil:
			why = append(why, err.Error())
		case id == "" || id == "uninitialized": // an image before its first boot
			why = append(why, file+" has none yet")
		default:
			return id, nil
		}
	}
	return "", errors.New(strings.Join(why, "; "))
}
