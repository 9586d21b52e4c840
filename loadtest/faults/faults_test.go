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
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/redisqueue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

var (
	lasting = flag.Duration("faults.for", 2*time.Minute, "how long faults strike, on each store")
	rounds  = flag.Duration("faults.round", 0, "how long they strike one world, till another begins with the next seed; 0 = 5 minutes")
	seed    = flag.Uint64("faults.seed", 0, "seed of the jobs and the faults; 0 = a new one")
	only    = flag.String("faults.kinds", "", "kinds of faults, separated by commas; all if empty")
	light   = flag.Int("faults.light", 0, "light hosts; 0 = as many as usual")
	reals   = flag.Int("faults.real", 0, "real hosts; 0 = as many as usual")
	where   = flag.String("faults.dir", "", "directory that is kept; a fresh one, which is kept if a run fails, if empty")
	race    = flag.Bool("faults.race", true, "build the programs with the race detector")
	patient = flag.Duration("faults.patience", 0, "how long nothing may move before what hasn't ended is a violation; 0 = 6 minutes")
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
	if os.Geteuid() == 0 && os.Getenv(apart) == "" {
		os.Exit(inNamespace())
	}
	status := m.Run()
	removePrograms()
	os.Exit(status)
}

// apart marks the process that has a mount namespace of its own.
const apart = "FAULTS_APART"

// inNamespace runs the tests in a mount namespace of their own. What they mount is in no namespace that somebody else makes meanwhile, where it
// would live on, and is gone with them.
func inNamespace() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), apart+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the kernel means this thread when it speaks of the parent's death
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// TestSQLite and TestRedis are the suite. A run that fails prints its seed.
func TestSQLite(t *testing.T) { suite(t, SQLite) }

func TestRedis(t *testing.T) { suite(t, Redis) }

// longer is how much longer a run may last for each kind to have struck.
const longer = 90 * time.Second

func suite(t *testing.T, store string) {
	t.Parallel()
	c := Config{Store: store, Seed: *seed, For: *lasting, Round: *rounds, Longer: longer, Keep: *where != "", Light: *light, Real: *reals, Patience: *patient, Log: testLog{t}, Crew: []string{os.Args[0], crewArg}}
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
	c.Disks = disks(t, c.Dir)
	res, err := Run(t.Context(), c)
	t.Logf("%d executions, %d faults\n%s%s", res.Executions, res.Faults, res.Table, strings.Join(res.Notes, "\n"))
	for _, v := range res.Violations {
		t.Errorf("VIOLATION %s", v)
	}
	if err != nil {
		t.Error(err)
	}
	if c.Kinds == nil {
		for _, col := range res.Empty {
			t.Errorf("no fault struck an execution that was %s", col)
		}
	}
	for kind, n := range res.Struck {
		if n < max(*least, 1) {
			t.Errorf("%s struck %d times", kind, n)
		}
	}
	if t.Failed() {
		t.Logf("the first seed was %d; what is left is in %s", c.Seed, c.Dir)
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

// disks tells whether file systems can be made, which needs root, loop devices and mkfs.ext4.
func disks(t *testing.T, dir string) bool {
	t.Helper()
	err := CheckDisks(dir)
	if err != nil && os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatalf("REXGATE_TEST_REQUIRE=1 allows no skip: %v", err)
	}
	if err != nil {
		t.Logf("without faults of disks: %v", err)
	}
	return err == nil
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
