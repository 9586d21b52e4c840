package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// binDir is where programs builds; "" = nothing was built.
var binDir string

// programs builds what runs, once for all tests, and gives the directory.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "rexgate-faults-bin-")
	if err != nil {
		return "", err
	}
	binDir = dir
	args := []string{"-o", dir + "/", "../../cmd/rexgate", "../../cmd/rexagent"}
	if _, err := exec.LookPath("gcc"); *race && err == nil { // which the race detector needs
		args = append([]string{"-race"}, args...)
	}
	return dir, errors.Join(build(args...), wrongClocks(dir))
})

func removePrograms() {
	if binDir != "" {
		os.RemoveAll(binDir)
	}
}

func build(args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// wrongClocks builds a rexagent whose clock is moved by ClockVar: the source is the same, but for the one function of
// the standard library that reads the wall clock.
func wrongClocks(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(original)
	if err != nil {
		return err
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	text := strings.Replace(string(b), read, read+"\tsec += wrongBy\n", 1)
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	if len(text) == len(b) || !strings.Contains(text, "sec += wrongBy") {
		return fmt.Errorf("%s reads the clock in an unknown way", original)
	}
	text += `
var wrongBy = func() (n int64) {
	text, _ := syscall.Getenv("` + ClockVar + `")
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	for i := range len(text) {
		n = n*10 + int64(text[i]-'0')
	}
	if negative {
		return -n
	}
	return n
}()
`
	dir = filepath.Join(dir, "wrongclock")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	patched, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	o, err := json.Marshal(map[string]map[string]string{"Replace": {original: patched}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(patched, []byte(text), 0o644), os.WriteFile(overlay, o, 0o644)); err != nil {
		return err
	}
	return build("-overlay", overlay, "-o", dir+"/", "../../cmd/rexagent")
}
