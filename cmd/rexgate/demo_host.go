package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/client/runner"
	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/gateway/auth"
)

// enrol makes a host of the demo, over the same way as any: a token, a key of its own, a request. It gives
// what runs its agent until ctx ends.
func (d *demo) enrol(ctx context.Context, h demoHost) (run func(context.Context) error, err error) {
	token, _, err := d.signer.SignEnroll(auth.Grant{URL: d.url, Hosts: h.name, Uses: 1, Labels: map[string]string{"demo": "yes"}}, auth.DefaultEnrollTTL)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(d.dir, h.name)
	// What listens on loopback is no business of a proxy.
	direct := client.Network{Proxy: "direct"}
	id, err := client.Enroll(ctx, client.EnrollConfig{Dir: dir, Token: token, Host: h.name, Network: direct})
	if err != nil {
		return nil, err
	}
	link, err := client.NewLink(client.Config{Gateways: []string{d.url}, Identity: id, Mode: h.mode, Network: direct, Log: d.log})
	if err != nil {
		return nil, err
	}
	boot, err := runner.BootID()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (err error) {
		a, err := agent.New(agent.Config{
			Dir: dir, Runner: runner.New(), Fetch: link.Script, Version: program.Version(version), BootID: boot, Log: d.log,
			// Whoever runs the demo runs the script, be it root.
			Policy: agent.UserPolicy{AllowRoot: os.Geteuid() == 0},
		})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.Close()) }()
		return link.Run(ctx, a)
	}, nil
}
