package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// TestRefusals starts what can't work: each says which and why in one line, and exits non-zero.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t, "sqlite")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	data := filepath.Join(s.dir, "data")
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"second gateway on a file": {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", data}, []string{filepath.Join(data, "rexgate.db")}},
		"port taken":               {[]string{"serve", "--listen", taken.Addr().String(), "--data-dir", t.TempDir()}, []string{taken.Addr().String(), "in use"}},
		"no redis":                 {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir(), "--redis", "redis://127.0.0.1:1/0"}, []string{"127.0.0.1:1", "refused"}},
		"plain HTTP off loopback":  {[]string{"serve", "--listen", "0.0.0.0:0", "--data-dir", t.TempDir()}, []string{"--behind-proxy"}},
		"unwritable directory":     {[]string{"serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/nowhere"}, []string{"/proc/nowhere"}},
		"unknown flag":             {[]string{"serve", "--lisen", "x"}, []string{"--lisen"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs, code := run(t, nil, "rexgate", c.args...)
			if code == 0 || strings.Count(strings.TrimSpace(errs), "\n") != 0 {
				t.Errorf("status %d, and not one line:\n%s", code, errs)
			}
			expect(t, "error", errs, c.says...)
		})
	}
}

// TestCheckConfig validates without starting.
func TestCheckConfig(t *testing.T) {
	t.Parallel()
	out := must(t, []string{"REXGATE_LISTEN=127.0.0.1:9999"}, "rexgate", "check-config")
	expect(t, "settings", out, "127.0.0.1:9999")
}
