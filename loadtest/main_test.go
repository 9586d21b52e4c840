package loadtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rexgate/rexgate/client/runner"
)

// asWorker makes the test's binary a worker.
const asWorker = "TEST_AS_WORKER"

// patience bounds what the tests wait for; it comes much sooner.
const patience = "2m"

// rexgate is the server that runs are made against.
var rexgate string

func TestMain(m *testing.M) {
	runner.Hook()
	if os.Getenv(asWorker) == "1" {
		if err := Worker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each process takes a second to exit
	dir, err := os.MkdirTemp("", "loadtest-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	rexgate = filepath.Join(dir, "rexgate")
	args := []string{"build", "-race", "-o", rexgate, "../cmd/rexgate"}
	if _, err := exec.LookPath("gcc"); err != nil { // which the race detector needs
		args = append(args[:1], args[2:]...)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go %q: %v\n%s", args, err, out)
		return 1
	}
	return m.Run()
}

// need skips a test for want of a program, unless all tests are required to run.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatalf("required, but %s isn't installed", program)
	}
	t.Skipf("%s isn't installed", program)
}
