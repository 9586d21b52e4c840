package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/cmd/program"
)

// place is what all commands need: where the state is, and the way to the gateways.
type place struct {
	stateDir string
	gateways []string
	ca       string
}

func (p *place) flags(fs *pflag.FlagSet) {
	fs.StringVar(&p.stateDir, "state-dir", defaultStateDir(), "`directory` of this host's key, journal and output")
	fs.StringVar(&p.ca, "ca", "", "PEM `file` of CAs to trust besides the system's")
}

// defaultStateDir is where the system keeps such things, for root or for the user.
func defaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/rexagent"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		base = filepath.Join(os.Getenv("HOME"), ".local", "state")
	}
	return filepath.Join(base, "rexagent")
}

func (p *place) check() error {
	if p.stateDir == "" {
		return program.Usagef("--state-dir: must name a directory")
	}
	abs, err := filepath.Abs(p.stateDir)
	p.stateDir = abs
	return err
}

// link loads the host's identity and gives what a link needs.
func (p *place) link(mode string) (*client.HostIdentity, client.Config, error) {
	if err := p.check(); err != nil {
		return nil, client.Config{}, err
	}
	m, err := client.ParseMode(mode)
	if err != nil {
		return nil, client.Config{}, program.Usagef("--transport: %w", err)
	}
	id, err := client.LoadIdentity(p.stateDir)
	if err != nil {
		return nil, client.Config{}, err
	}
	gateways := p.gateways
	if len(gateways) == 0 {
		gateways = id.Host().Gateways
	}
	return id, client.Config{
		Gateways: gateways, Identity: id, Mode: m,
		Network:   id.Network(client.Network{CAFile: p.ca}),
		StateFile: filepath.Join(p.stateDir, "link.json"),
	}, nil
}

// logging is how a command logs.
type logging struct{ format, level string }

func (l *logging) flags(fs *pflag.FlagSet) {
	fs.StringVar(&l.format, "log-format", "text", "text or json")
	fs.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
}

func (l *logging) logger(w io.Writer) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, program.Usagef("--log-level: %q is not debug, info, warn or error", l.level)
	}
	o.Level = level
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &o)), nil
	}
	return nil, program.Usagef("--log-format: %q is not text or json", l.format)
}
