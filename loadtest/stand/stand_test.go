package stand

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/loadtest/report"
)

// begin puts a stand up, and ends it with the test if the test doesn't.
func begin(t *testing.T, c Config) *Stand {
	t.Helper()
	if c.Store == Redis {
		clienttest.Program(t, "redis-server")
	}
	c.Rexgate, c.Dir = rexgate, t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // tests that expect an error have closed it
	return s
}

func TestStand(t *testing.T) {
	for _, c := range []struct {
		name     string
		config   Config
		says     []string
		settings []string
	}{
		{name: "sqlite", config: Config{Store: SQLite}, settings: []string{"journal_mode=wal"}},
		{name: "sqlite with TLS", config: Config{Store: SQLite, TLS: true}, settings: []string{"journal_mode=wal"}},
		{name: "redis", config: Config{Store: Redis, Gateways: 2, Args: OpenAdmission(5000, 3000)},
			settings: []string{"appendonly=yes", "appendfsync=everysec", "maxmemory-policy=noeviction", "save="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, c.config)
			gateways := max(c.config.Gateways, 1)
			if len(s.URLs) != gateways || len(s.AdminURLs) != gateways {
				t.Fatalf("%d URLs, %d of admins, of %d gateways", len(s.URLs), len(s.AdminURLs), gateways)
			}
			client, err := s.client()
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			token, err := os.ReadFile(s.Token)
			if err != nil {
				t.Fatal(err)
			}
			for _, url := range s.URLs {
				if strings.HasPrefix(url, "https://") != c.config.TLS {
					t.Errorf("%s: TLS is %v", url, c.config.TLS)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/jobs", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("the token is answered by %s", resp.Status)
				}
			}
			for _, url := range s.AdminURLs {
				var b bytes.Buffer
				if err := get(t.Context(), http.DefaultClient, url+"/metrics", &b); err != nil || !strings.Contains(b.String(), "rexgate_") {
					t.Errorf("metrics: %v\n%s", err, b.String())
				}
			}
			http.DefaultClient.CloseIdleConnections()
			d, err := s.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d.Rexgate == "" || d.StoreVersion == "" || d.StoreDisk == "" || d.Store != c.config.Store || d.TLS != c.config.TLS || d.Gateways != gateways {
				t.Errorf("it says of itself: %+v", d)
			}
			for _, want := range c.settings {
				if !slices.Contains(d.StoreSettings, want) {
					t.Errorf("the store's settings are %q, without %s", d.StoreSettings, want)
				}
			}
			if !slices.Equal(d.GatewayArgs, c.config.Args) {
				t.Errorf("gateways were given %q, it says %q", c.config.Args, d.GatewayArgs)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			for _, p := range s.Targets() {
				if !ended(p.PID) {
					t.Errorf("the %s %d still runs", p.Role, p.PID)
				}
			}
			if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
				t.Errorf("the run's folder: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("closed again: %v", err)
			}
		})
	}
}

// TestArgsReachGateway checks that a run's settings are what the gateway was started with.
func TestArgsReachGateway(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Store: SQLite, Args: []string{"--public-url=https://elsewhere.example"}})
	args, err := os.ReadFile("/proc/" + strconv.Itoa(s.Targets()[0].PID) + "/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(args, []byte("\x00--public-url=https://elsewhere.example\x00")) {
		t.Errorf("the gateway runs with %q", args)
	}
}

func TestStartRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"store":        {Config{Store: "paper"}, "paper"},
		"two of one":   {Config{Store: SQLite, Gateways: 2}, "serves one"},
		"no rexgate":   {Config{Rexgate: "/nowhere/rexgate", Store: SQLite}, "/nowhere/rexgate"},
		"no redis":     {Config{Store: Redis, RedisServer: "/nowhere/redis-server"}, "/nowhere/redis-server"},
		"bad flag":     {Config{Store: SQLite, Args: []string{"--no-such-flag"}}, "--no-such-flag"},
		"bad argument": {Config{Store: Redis, RedisArgs: []string{"--no-such-directive", "1"}}, "no-such-directive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.config.RedisArgs != nil {
				clienttest.Program(t, "redis-server")
			}
			if c.config.Rexgate == "" {
				c.config.Rexgate = rexgate
			}
			c.config.Dir = t.TempDir()
			s, err := Start(t.Context(), c.config)
			if err == nil {
				_ = s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; nothing of %q", err, c.says)
			}
			left, err := os.ReadDir(c.config.Dir)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestStartGivesUp ends a start whose time is over, and leaves nothing.
func TestStartGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if s, err := Start(ctx, Config{Rexgate: rexgate, Store: SQLite, Dir: dir}); err == nil {
		_ = s.Close()
		t.Fatal("it started")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFailed kills a process of the stand: that is told, with what it was.
func TestFailed(t *testing.T) {
	for role, store := range map[string]string{report.RoleGateway: SQLite, report.RoleStore: Redis} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			s := begin(t, Config{Store: store})
			i := slices.IndexFunc(s.Targets(), func(t Target) bool { return t.Role == role })
			if err := unix.Kill(s.Targets()[i].PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-s.Failed()
			name := map[string]string{report.RoleGateway: "gateway 1", report.RoleStore: "redis-server"}[role]
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), name+" ended before its time (signal: killed)") {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// TestPortTaken has redis-server find its port taken, which makes Start try another.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	clienttest.Program(t, "redis-server")
	path, err := program("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Stand{config: Config{RedisServer: path}}
	err = s.tryRedis(t.Context(), t.TempDir(), l.Addr().(*net.TCPAddr).Port)
	if err == nil || !portTaken(err) {
		t.Errorf("not seen as a port that is taken: %v", err)
	}
	if s.redis != nil {
		t.Error("it is kept as the store")
	}
}
