package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rexgate/rexgate/cmd/program"
	"github.com/rexgate/rexgate/cmd/settings"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/auth"
)

// config are the settings of serve.
type config struct {
	listen, adminListen      string
	dataDir, operatorKey     string
	redis, redisPasswordFile string
	tlsCert, tlsKey, tlsCA   string
	behindProxy              bool
	publicURL, name          string
	logFormat, logLevel      string

	drainTime       time.Duration
	reconnectHosts  int
	reconnectWindow time.Duration
	pollRate        float64
	pollInterval    time.Duration
	leaseTTL        time.Duration

	storeBytes       size
	keepOutput       time.Duration
	keepRecords      time.Duration
	keepOutputBytes  size
	keepRecordsBytes size
}

// keyFlags are the settings that serve and token have in common.
func (c *config) keyFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.dataDir, "data-dir", "rexgate-data", "directory of the embedded store and the operators' key; made if it isn't there")
	fs.StringVar(&c.operatorKey, "operator-key", "", "file of the key that signs operators' tokens, the same for all gateways\nof a store; made if it isn't there (default DATA-DIR/"+auth.KeyFile+")")
}

func (c *config) flags(fs *pflag.FlagSet) {
	c.keyFlags(fs)
	fs.StringVar(&c.listen, "listen", "127.0.0.1:8080", "address to listen on")
	fs.StringVar(&c.adminListen, "admin-listen", "", "address for /metrics and pprof, which ask for no token; none if empty")
	fs.StringVar(&c.redis, "redis", "", "URL of a Redis to use as the store instead of a file in the data\ndirectory, such as redis://host:6379/0; see the docs for Sentinel and Cluster")
	fs.StringVar(&c.redisPasswordFile, "redis-password-file", "", "file with the password of Redis")
	fs.StringVar(&c.tlsCert, "tls-cert", "", "PEM file of the certificate chain; reread when it changes")
	fs.StringVar(&c.tlsKey, "tls-key", "", "PEM file of its key")
	fs.StringVar(&c.tlsCA, "tls-ca", "", "PEM file of the CA certificate that hosts shall trust: its fingerprint goes\ninto enrolment tokens")
	fs.BoolVar(&c.behindProxy, "behind-proxy", false, "allow plain HTTP off this machine: a proxy in front speaks TLS")
	fs.StringVar(&c.publicURL, "public-url", "", "how hosts reach the service, for enrolment tokens\n(default: the address listened on, if that is one address)")
	fs.StringVar(&c.name, "name", "", "name of this gateway, unique among those of a store\n(default: the machine's name and a random part)")
	fs.StringVar(&c.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.DurationVar(&c.drainTime, "drain-time", gateway.DefaultDrainTime, "bound of the time to go after SIGTERM")
	fs.IntVar(&c.reconnectHosts, "reconnect-hosts", 60_000, "so many hosts are to come back ...")
	fs.DurationVar(&c.reconnectWindow, "reconnect-window", time.Minute, "... within this time after an outage")
	fs.Float64Var(&c.pollRate, "poll-rate", 2000, "polls a second that hosts are told to make, all together")
	fs.DurationVar(&c.pollInterval, "poll-interval", 15*time.Second, "shortest time between two polls of a host that nothing waits for")
	fs.DurationVar(&c.leaseTTL, "lease-ttl", 30*time.Second, "how long a delivery may stay unaccepted")
	fs.Var(&c.storeBytes, "store-bytes", "room for the store, such as 10GiB; submits are refused at 80 %\n(default: no bound, or Redis' maxmemory)")
	fs.DurationVar(&c.keepOutput, "keep-output", 7*24*time.Hour, "how long output of ended jobs is kept; 0 = for ever")
	fs.DurationVar(&c.keepRecords, "keep-records", 90*24*time.Hour, "how long ended jobs are kept; 0 = for ever")
	fs.Var(&c.keepOutputBytes, "keep-output-bytes", "how much output of ended jobs is kept (default: no bound)")
	fs.Var(&c.keepRecordsBytes, "keep-records-bytes", "how much of ended jobs is kept besides (default: no bound)")
}

// load fills what the command line didn't give, and checks it. The settings are all that
// are effective.
func (c *config) load(fs *pflag.FlagSet) ([]settings.Setting, error) {
	all, err := settings.Load(fs, settings.Options{Prefix: settings.PrefixGate})
	if err != nil {
		return nil, program.Usage(err)
	}
	for i, s := range all {
		if s.Name != "redis" || s.Value == "" {
			continue
		}
		hidden, secret := hidePassword(s.Value)
		if secret && s.Source != settings.FromFile {
			return nil, program.Usagef("--redis: the URL holds a password, which others can see; put it into a file and name that by --redis-password-file")
		}
		all[i].Value = hidden
	}
	if err := c.validate(); err != nil {
		return nil, program.Usage(err)
	}
	return all, nil
}

func (c *config) validate() error {
	if err := checkListen(c.listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if c.adminListen != "" {
		if err := checkListen(c.adminListen); err != nil {
			return fmt.Errorf("--admin-listen: %w", err)
		}
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key: one without the other")
	}
	if c.tlsCert == "" && !c.behindProxy && !loopback(c.listen) {
		return fmt.Errorf("--listen: refusing plain HTTP on %s, which tokens and output would cross in clear: give --tls-cert and --tls-key, or --behind-proxy if a proxy in front speaks TLS", c.listen)
	}
	if c.publicURL != "" {
		if err := gateway.ValidatePublicURL(c.publicURL); err != nil {
			return fmt.Errorf("--public-url: %w", err)
		}
	}
	if c.dataDir == "" && (c.redis == "" || c.operatorKey == "") {
		return fmt.Errorf("--data-dir: is empty")
	}
	if c.redisPasswordFile != "" && c.redis == "" {
		return fmt.Errorf("--redis-password-file: without --redis")
	}
	if _, err := c.newLog(io.Discard); err != nil {
		return err
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"drain-time", c.drainTime.Seconds()}, {"reconnect-hosts", float64(c.reconnectHosts)}, {"reconnect-window", c.reconnectWindow.Seconds()},
		{"poll-rate", c.pollRate}, {"poll-interval", c.pollInterval.Seconds()}, {"lease-ttl", c.leaseTTL.Seconds()},
	} {
		if !(p.value > 0) {
			return fmt.Errorf("--%s: must be more than 0", p.name)
		}
	}
	if c.keepOutput < 0 || c.keepRecords < 0 {
		return fmt.Errorf("--keep-output and --keep-records: must not be negative")
	}
	return nil
}

// keyPath is the file of the operators' key.
func (c *config) keyPath() string {
	if c.operatorKey != "" {
		return c.operatorKey
	}
	return filepath.Join(c.dataDir, auth.KeyFile)
}

func (c *config) newLog(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", c.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: %q is neither text nor json", c.logFormat)
}

// checkListen tells what is wrong with an address to listen on.
func checkListen(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", listen)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q: there is no port %q", listen, port)
	}
	return nil
}

// loopback tells whether only this machine reaches the address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hidePassword gives a URL with its password starred out. A URL that can't be
// parsed (a list of hosts) is cut at its last @.
func hidePassword(text string) (hidden string, secret bool) {
	if u, err := url.Parse(text); err == nil && u.Query().Get("password") == "" {
		_, secret := u.User.Password()
		return u.Redacted(), secret
	}
	scheme, rest, _ := strings.Cut(text, "://")
	query := ""
	if before, q, ok := strings.Cut(rest, "?"); ok {
		rest, query = before, q
	}
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		user, _, has := strings.Cut(rest[:i], ":")
		if has {
			rest, secret = user+":xxxxx"+rest[i:], true
		}
	}
	if strings.Contains(query, "password=") {
		query, secret = "xxxxx", true
	}
	if query != "" {
		rest += "?" + query
	}
	return scheme + "://" + rest, secret
}
