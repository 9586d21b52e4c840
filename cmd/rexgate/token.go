package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/gateway/auth"
)

func newToken() *cobra.Command {
	token := &cobra.Command{
		Use: "token", Short: "Make tokens of operators", Args: program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	token.AddCommand(newTokenOperator())
	return token
}

func newTokenOperator() *cobra.Command {
	var (
		c       config
		subject string
		scopes  []string
		ttl     time.Duration
		out     string
	)
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Print a new token for a person or program that submits and watches jobs",
		Long: `Prints a new operator's token, signed with the key of the data directory. It works
at every gateway that has the same key, until it expires.`,
		Example: "  rexgate token operator --out ~/.config/rexctl/token\n  rexgate token operator --subject ci --scopes jobs:submit,jobs:read,output:read --ttl 720h",
		Args:    program.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			others := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			new(config).flags(others) // a file of serve's settings says where the key is
			_, err := settings.Load(cmd.Flags(), settings.Options{Prefix: settings.PrefixGate, Also: []*pflag.FlagSet{others}})
			if err != nil {
				return program.Usage(err)
			}
			signer, err := auth.LoadSigner(c.keyPath())
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no operators' key %s yet: rexgate serve makes it at its first start; is --data-dir right?", c.keyPath())
			}
			if err != nil {
				return err
			}
			token, expires, err := signer.SignOperator(auth.Operator{Subject: subject, Scopes: scopes}, ttl)
			if err != nil {
				return program.Usagef("--%w", err)
			}
			if out == "" {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
				return err
			}
			if err := writeSecret(out, token); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s holds a token of %s, good until %s\n", out, subject, expires.Format(time.RFC3339))
			return err
		},
	}
	c.keyFlags(cmd.Flags())
	cmd.Flags().StringVar(&subject, "subject", defaultSubject(), "who the token speaks for: shown with what is done with it")
	cmd.Flags().StringSliceVar(&scopes, "scopes", auth.Scopes(), "what may be done with it")
	cmd.Flags().DurationVar(&ttl, "ttl", 30*24*time.Hour, "how long it is good")
	cmd.Flags().StringVar(&out, "out", "", "write it to this file, readable by you only, instead of printing it")
	// These say what one token is to be, not how the service is set up.
	if err := settings.CommandLineOnly(cmd.Flags(), "subject", "scopes", "ttl", "out"); err != nil {
		panic(err) // a name is misspelt in the line above
	}
	return cmd
}

func defaultSubject() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return strings.TrimSpace(u.Username)
	}
	return "operator"
}

// writeSecret replaces a file by one that only its owner can read.
func writeSecret(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintln(f, text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
