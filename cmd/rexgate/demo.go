package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/rexctl/ctl"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/api"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// demoScript is what runs if no script is given.
const demoScript = `echo "hello, here is $(uname -n), it is $(date +%T)"
sleep 1
echo "that took a second; bye"`

// demoTTL is how long the demo's operator may do things.
const demoTTL = 24 * time.Hour

// demoHost is one of the demo's hosts.
type demoHost struct {
	name  string
	mode  client.Mode
	delay time.Duration // until it comes online
	says  string
}

func demoHosts() []demoHost {
	return []demoHost{
		{"alpha", client.ModeSocket, 0, "holds a WebSocket"},
		{"beta", client.ModePoll, 0, "may only poll"},
		{"gamma", client.ModeAuto, 4 * time.Second, "is offline, and comes in 4 seconds; its job waits"},
	}
}

func newDemo() *cobra.Command {
	var once bool
	var listen string
	cmd := &cobra.Command{
		Use:   "demo [--once] [-- 'SCRIPT']",
		Short: "Show it: a gateway, three hosts and one job, all on this machine",
		Long: `Runs a gateway with an embedded store and the agents of three hosts on this
machine: one on a WebSocket, one that polls, one that comes some seconds later.
One job runs on all three, as this user; its output is printed as each answers. Then
it stays up to be tried out until Ctrl-C. Everything is in a temporary directory.

With --once it ends after the job, with its exit status: 0 all succeeded,
1 some failed.`,
		Example: "  rexgate demo\n  rexgate demo --once -- 'uptime; id'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return program.Usagef("one script is possible, got %d arguments; quote it: rexgate demo -- 'uptime; id'", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkListen(listen); err != nil {
				return program.Usagef("--listen: %w", err)
			}
			if !loopback(listen) {
				return program.Usagef("--listen: the demo speaks plain HTTP and runs jobs as you, so it listens on loopback only, not on %s", listen)
			}
			d := demo{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), once: once, script: demoScript}
			if len(args) == 1 {
				d.script = args[0]
			}
			return d.run(cmd.Context(), listen)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the job, with its exit status")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address of the gateway, on loopback")
	return cmd
}

// demo is a running demo.
type demo struct {
	out, err io.Writer
	once     bool
	script   string

	dir    string
	url    string
	signer *auth.Signer
	gate   *gateway.Gateway
	log    *slog.Logger
}

// run sets everything up, runs the job, and takes everything down again.
func (d *demo) run(ctx context.Context, listen string) (err error) {
	if d.dir, err = os.MkdirTemp("", "rexgate-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	d.log = slog.New(slog.NewTextHandler(d.err, &slog.HandlerOptions{Level: slog.LevelWarn}))

	store, err := sqlitequeue.Open(ctx, sqlitequeue.Options{Path: filepath.Join(d.dir, storeFile), Log: d.log})
	if err != nil {
		return fmt.Errorf("can't open the demo's store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if d.signer, _, err = auth.LoadOrCreateSigner(filepath.Join(d.dir, auth.KeyFile)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("can't listen on %s: %w", listen, err)
	}
	defer listener.Close()
	d.url = "http://" + listener.Addr().String()
	server, err := gateway.NewServer(gateway.ServerConfig{
		Gateway:  gateway.Config{Store: store, Name: "demo", PublicURL: d.url, Signer: d.signer, Log: d.log},
		Listener: listener, DrainTime: 5 * time.Second,
	})
	if err != nil {
		return err
	}

	d.gate = server.Gateway()

	running, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	var failed error // of the server; read after parts
	parts.Go(func() {
		defer stop()
		failed = server.Run(running)
	})
	status := d.show(running, &parts)
	if !d.once && status == nil {
		<-running.Done()
		fmt.Fprintln(d.err, "\nStopping.")
	}
	stop()
	parts.Wait()
	return errors.Join(failed, status)
}

// show enrols the hosts, starts their agents, and runs the job. An interrupt ends it.
func (d *demo) show(ctx context.Context, parts *sync.WaitGroup) error {
	who := auth.Operator{Subject: "demo", Scopes: auth.Scopes(), Expires: time.Now().Add(demoTTL)}
	fmt.Fprintf(d.err, "A gateway listens on %s.\n", d.url)
	if !d.once {
		code, _ := d.gate.LoginCode(who)
		fmt.Fprintf(d.err, "Watch it in a browser, with a login that works once:\n  %s/#login=%s\n", d.url, code)
	}
	fmt.Fprint(d.err, "\nThree hosts call in:\n")
	for _, h := range demoHosts() {
		fmt.Fprintf(d.err, "  %-6s %s\n", h.name, h.says)
		run, err := d.enrol(ctx, h)
		if err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		parts.Go(func() {
			select {
			case <-time.After(h.delay):
			case <-ctx.Done():
				return
			}
			if err := run(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("an agent failed", "host", h.name, "err", err)
			}
		})
	}
	token, _, err := d.signer.SignOperator(who, demoTTL)
	if err != nil {
		return err
	}
	tokenFile := filepath.Join(d.dir, "token")
	if err := writeSecret(tokenFile, token); err != nil {
		return err
	}
	c, err := operator.New(operator.Options{Server: d.url, Token: operator.TokenFile(tokenFile), UserAgent: "rexgate-demo"})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(d.err, "\nOne job goes to all of them:\n%s\n", indent(d.script))
	rexctl := "rexctl"
	if _, err := exec.LookPath("rexctl"); err != nil {
		rexctl = "go run ./cmd/rexctl"
	}
	view := ctl.View{Client: c, Out: terminal(d.out), Err: terminal(d.err), Command: rexctl}
	err = view.Run(ctx, api.JobRequest{Name: "demo", Script: d.script, All: true})
	switch status := ctl.StatusOf(err); {
	case ctx.Err() != nil:
		return d.interrupted()
	case d.once, status != ctl.ExitOK && status != ctl.ExitFailed:
		if code := ctl.Finish(d.err, "rexgate", err); code != 0 {
			return program.Status(code)
		}
		return nil
	}
	d.hints(rexctl, tokenFile)
	return nil
}

// interrupted is the end by Ctrl-C before the job's end: a failure only if its status was asked for.
func (d *demo) interrupted() error {
	if d.once {
		return program.Status(ctl.ExitInterrupted)
	}
	return nil
}

// hints says what to type next.
func (d *demo) hints(rexctl, tokenFile string) {
	fmt.Fprintf(d.err, `
All of it stays up until Ctrl-C. To try it, in another terminal:
  export REXCTL_SERVER=%s
  export REXCTL_TOKEN_FILE=%s
  %[3]s host list
  %[3]s job run --host beta -- 'id; uptime'
  %[3]s job run --all -- 'echo one; sleep 2; echo two'
  %[3]s job list
In a browser, %[1]s/ asks for the token in that file.
`, d.url, tokenFile, rexctl)
}

// terminal describes a stream to ctl.
func terminal(w io.Writer) ctl.Terminal {
	if f, ok := w.(*os.File); ok {
		return ctl.FileTerminal(f)
	}
	return ctl.Terminal{W: w}
}

// indent sets a script off from the text around it.
func indent(script string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(script, "\n"), "\n", "\n  ") + "\n"
}
