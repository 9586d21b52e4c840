package faults

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

var (
	lasting = flag.Duration("faults.for", 30*time.Second, "how long faults strike, on each store")
	seed    = flag.Uint64("faults.seed", 0, "seed of the jobs and the faults; 0 = a new one")
	only    = flag.String("faults.kinds", "", "kinds of faults, separated by commas; all if empty")
	light   = flag.Int("faults.light", 0, "light hosts; 0 = as many as usual")
	reals   = flag.Int("faults.real", 0, "real hosts; 0 = as many as usual")
	where   = flag.String("faults.dir", "", "directory that is kept; a fresh one, which is kept if a run fails, if empty")
	race    = flag.Bool("faults.race", true, "build the programs with the race detector")
	patient = flag.Duration("faults.patience", 0, "how long nothing may move before what hasn't ended is a violation; 0 = 2 minutes")
	least   = flag.Int("faults.least", 0, "how often each kind is to have struck at least")
)

// crewArg has the test's binary be a crew.
const crewArg = "faults-crew"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == crewArg {
		if err := Crew(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	status := m.Run()
	removePrograms()
	os.Exit(status)
}

// TestSQLite and TestRedis are the suite. A run that fails prints its seed.
func TestSQLite(t *testing.T) { suite(t, SQLite) }

func TestRedis(t *testing.T) { suite(t, Redis) }

func suite(t *testing.T, store string) {
	t.Parallel()
	c := Config{Store: store, Seed: *seed, For: *lasting, Light: *light, Real: *reals, Patience: *patient, Log: testLog{t}, Crew: []string{os.Args[0], crewArg}}
	if c.Seed == 0 {
		c.Seed = rand.Uint64N(1 << 32)
	}
	if *only != "" {
		c.Kinds = strings.Split(*only, ",")
	}
	if store == Redis {
		c.RedisServer = need(t, "redis-server")
	}
	c.OpenStore = func(ctx context.Context, where string) (queue.Store, error) {
		if store == SQLite {
			return sqlitequeue.Open(ctx, sqlitequeue.Options{Path: where, Log: slog.New(slog.DiscardHandler)})
		}
		return redisqueue.Open(ctx, redisqueue.Options{URL: "redis://" + where + "/0"})
	}
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	c.Rexgate, c.Rexagent, c.WrongClock = filepath.Join(bin, "rexgate"), filepath.Join(bin, "rexagent"), filepath.Join(bin, "wrongclock", "rexagent")
	c.Dir = directory(t, store)
	res, err := Run(t.Context(), c)
	t.Logf("%d executions, %d faults\n%s%s", res.Executions, res.Faults, res.Table, strings.Join(res.Notes, "\n"))
	for _, v := range res.Violations {
		t.Errorf("VIOLATION %s", v)
	}
	if err != nil {
		t.Error(err)
	}
	// A short run may miss a state by chance on a busy machine.
	if c.Kinds == nil && *lasting >= 2*time.Minute {
		for _, col := range res.Empty {
			t.Errorf("no fault struck an execution that was %s", col)
		}
	}
	for kind, n := range res.Struck {
		if n < *least {
			t.Errorf("%s struck %d times", kind, n)
		}
	}
	if t.Failed() {
		t.Logf("the seed is %d; what is left is in %s", c.Seed, c.Dir)
	}
}

// directory gives a world its place, which is removed if nothing failed.
func directory(t *testing.T, store string) string {
	t.Helper()
	base := *where
	if base == "" {
		base = loadtest.DefaultDir()
	}
	dir, err := os.MkdirTemp(base, "rexgate-faults-"+store+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() && *where == "" {
			os.RemoveAll(dir)
		}
	})
	return dir
}

func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil {
		return path
	}
	if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatalf("%s isn't installed, and REXGATE_TEST_REQUIRE=1 allows no skip", tool)
	}
	t.Skipf("%s isn't installed", tool)
	return ""
}

// testLog writes to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
