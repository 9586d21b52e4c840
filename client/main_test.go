package client

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// need skips a test where a program isn't there, and fails where all must be.
func need(t *testing.T, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	if os.Getenv("REXGATE_TEST_REQUIRE") == "1" {
		t.Fatalf("none of %v is installed", paths)
	}
	t.Skipf("none of %v is installed", paths)
	return ""
}
