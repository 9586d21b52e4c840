package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rexgate/rexgate/cmd/program"
)

// findRexgate gives the server to start: the one that is named, or the one beside this program, or one that is
// built from the source tree that the working directory is in, or what is on PATH. remove is called when it isn't needed
// any more.
func findRexgate(ctx context.Context, named, self string, errw io.Writer) (path string, remove func(), err error) {
	keep := func() {}
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", nil, program.Usagef("--rexgate: %w", err)
		}
		return path, keep, nil
	}
	if beside, err := exec.LookPath(filepath.Join(filepath.Dir(self), "rexgate")); err == nil {
		return beside, keep, nil
	}
	const pkg = "github.com/rexgate/rexgate/cmd/rexgate"
	if found, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Module.Main}}", pkg).Output(); err == nil && bytes.Equal(bytes.TrimSpace(found), []byte("true")) {
		dir, err := os.MkdirTemp("", "rexload-")
		if err != nil {
			return "", nil, err
		}
		remove := func() { os.RemoveAll(dir) }
		path := filepath.Join(dir, "rexgate")
		fmt.Fprintln(errw, "building rexgate")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
			remove()
			return "", nil, fmt.Errorf("build rexgate: %w\n%s", err, out)
		}
		return path, remove, nil
	}
	if path, err := exec.LookPath("rexgate"); err == nil {
		return path, keep, nil
	}
	return "", nil, program.Usagef("there is no rexgate beside %s nor on PATH; name it by --rexgate, or a service that runs by --server", self)
}
