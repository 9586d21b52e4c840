package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rexgate/rexgate/client/clienttest"
)

// TestQuickstart types the README's quickstart as written, in a directory of its own.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)## Quickstart.*?```sh\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no quickstart")
	}
	home := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(home, "bin")); err != nil {
		t.Fatal(err)
	}
	port := clienttest.FreePort(t)
	// Where it listens is the only thing that isn't as written.
	env := []string{"HOME=" + home, "REXGATE_LISTEN=127.0.0.1:" + port, "REXCTL_SERVER=http://127.0.0.1:" + port,
		"REXAGENT_STATE_DIR=" + filepath.Join(home, "agent")}
	var out string
	for line := range strings.Lines(string(block[1])) {
		command, background := strings.CutSuffix(strings.TrimSpace(line), "&")
		p := start(t, env, "/bin/sh", "-c", "cd "+home+" && exec "+command)
		switch {
		case !background:
			if code := p.wait(); code != 0 {
				t.Fatalf("%s: status %d\n%s%s", command, code, p.out, p.err)
			}
			out += p.out.String()
		case strings.Contains(command, "serve"):
			p.out.waitFor(t, "listens on")
		default:
			p.err.waitFor(t, "connected")
		}
	}
	expect(t, "output", out, "hello from", "load average", "web-1", "socket")
}
