package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rexgate/rexgate/client/runner"
)

func TestMain(m *testing.M) {
	runner.Hook() // this process may be the supervisor of a script
	testscript.Main(m, map[string]func(){"rexload": main})
}

// TestScripts runs the program as people do.
func TestScripts(t *testing.T) {
	dir := t.TempDir()
	args := []string{"build", "-race", "-o", dir, "../rexgate"}
	if _, err := exec.LookPath("gcc"); err != nil { // which the race detector needs
		args = append(args[:1], args[2:]...)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REXGATE", filepath.Join(dir, "rexgate"))
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			// State directories of hosts go into the script's own place.
			e.Setenv("REXLOAD_DIR", e.WorkDir)
			e.Setenv("TMPDIR", e.WorkDir)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "redis" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			_, err := exec.LookPath("redis-server")
			if err != nil && os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
				return false, fmt.Errorf("required, but redis-server isn't installed")
			}
			return err == nil, nil
		},
	})
}
