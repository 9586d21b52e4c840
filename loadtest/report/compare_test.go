package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestCompare sets the sample beside one that was changed in known ways.
func TestCompare(t *testing.T) {
	a, b := sample(), sample()
	b.Started = b.Started.Add(25 * time.Hour)
	b.Stand.TLS, b.Stand.Rexgate = false, "v0.1.1"
	b.Stand.GatewayArgs = append(b.Stand.GatewayArgs, "--poll-rate=3000")
	b.Notes = nil
	b.Steps[0].ByFleet.P50 /= 4
	b.Steps[1].ByStore.P99 = b.Steps[1].ByStore.P99 * 11 / 10
	b.Steps[4].ByStore = nil
	b.Processes[0].Phases[4].User *= 3
	b.Errors = b.Errors[1:]
	b.Executions = map[string]int{"succeeded": 5000}
	b.Figures = append(b.Figures, Figure{Name: "a figure that only one has, with quite a long name", Unit: "cores", Measured: 0.5})
	var out bytes.Buffer
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(out.String(), "\n") {
		if n := len([]rune(line)); n > width {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
	golden(t, "compare.txt", out.Bytes())
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		a, b float64
		want string
	}{{1, 1, "same"}, {0, 0, "same"}, {0, 5, ""}, {5, 0, "gone"}, {100, 110, "+10.0 %"}, {100, 51, "-49.0 %"}, {1, 3, "x 3.00"}, {3, 1, "1/3.00"}, {-1, 2, ""}} {
		if got := ratio(c.a, c.b); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
