package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/gateway/auth"
)

func newCheckConfig() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Check the settings of serve and print those that are effective",
		Long: `Checks the settings as serve would, the files that they name included, and prints
those that are effective as a YAML file, each with where it comes from. It opens
neither store nor port.`,
		Args: program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.load(cmd.Flags())
			if err != nil {
				return err
			}
			if err := c.checkFiles(); err != nil {
				return err
			}
			return printSettings(cmd.OutOrStdout(), all)
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// checkFiles reads the files that the settings name, and the store's URL.
func (c *config) checkFiles() error {
	ca, err := c.readCA()
	if err != nil {
		return err
	}
	if _, err := c.tls(ca, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if c.redis != "" {
		o, err := c.redisOptions()
		if err != nil {
			return err
		}
		if err := o.Validate(); err != nil {
			return fmt.Errorf("--redis: %w", err)
		}
	}
	if c.dataDir != "" {
		if info, err := os.Stat(c.dataDir); err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
			return fmt.Errorf("--data-dir: %s is a file, or in one", c.dataDir)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--data-dir: %w", err)
		}
	}
	if _, err := auth.LoadSigner(c.keyPath()); err != nil && !errors.Is(err, fs.ErrNotExist) { // serve makes one
		return err
	}
	return nil
}

func printSettings(w io.Writer, all []settings.Setting) error {
	for _, s := range all {
		line, err := yaml.Marshal(map[string]string{s.Name: s.Value})
		if err != nil {
			return err
		}
		from := string(s.Source)
		if s.Origin != "" {
			from = s.Origin
		}
		if _, err := fmt.Fprintf(w, "%-40s # %s\n", strings.TrimSpace(string(line)), from); err != nil {
			return err
		}
	}
	return nil
}
