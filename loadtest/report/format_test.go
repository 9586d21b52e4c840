package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 7: "7 ns", 1500: "1.50 us", 999499: "999 us", 999600: "1.00 ms", 12345678: "12.3 ms", 999499999: "999 ms", 999500000: "1.00 s",
		11 * time.Second: "11.0 s", 119 * time.Second: "119 s", 29 * time.Minute: "29 min", 150 * time.Second: "2 min 30 s", 3 * time.Hour: "180 min", -1500: "-1.50 us",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "0.98 KiB", 14336: "14.0 KiB", 1 << 20: "1.00 MiB", 24 << 30: "24.0 GiB", -4096: "-4.00 KiB", 1 << 52: "4,096 TiB"} {
		if got := formatBytes(n); got != want {
			t.Errorf("%v: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestAxes(t *testing.T) {
	for name, c := range map[string]struct {
		a    axis
		want string
	}{
		"count":       {linear(0, 5000, 5), "0 1,000 2,000 3,000 4,000 5,000"},
		"more":        {linear(0, 5001, 5), "0 2,000 4,000 6,000"},
		"cores":       {linear(0, 1.9, 5), "0.0 0.5 1.0 1.5 2.0"},
		"little":      {linear(0, 0.013, 5), "0.000 0.005 0.010 0.015"},
		"bytes":       {bytesAxis(0, 300, 5), "0 64 128 192 256 320 bytes"},
		"KiB":         {bytesAxis(0, 3<<20, 5), "0 1,024 2,048 3,072 KiB"},
		"MiB":         {bytesAxis(0, 270<<20, 5), "0 64 128 192 256 320 MiB"},
		"GiB":         {bytesAxis(0, 9.5*(1<<30), 5), "0 2 4 6 8 10 GiB"},
		"seconds":     {timeAxis(0, 12700*time.Millisecond, 6), "0 5 10 seconds"},
		"before":      {timeAxis(-31*time.Second, 17*time.Second, 10), "-30 -25 -20 -15 -10 -5 0 5 10 15 seconds"},
		"minutes":     {timeAxis(0, time.Hour, 6), "0 10 20 30 40 50 60 minutes"},
		"hours":       {timeAxis(0, 10*time.Hour, 5), "0 2 4 6 8 10 hours"},
		"thousandths": {timeAxis(0, 900*time.Millisecond, 5), "0 200 400 600 800 milliseconds"},
	} {
		got := strings.TrimSpace(strings.Join(c.a.labels, " ") + " " + c.a.unit)
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestAxesHoldAll draws axes for any range: values are on them, ticks are few, even and labelled apart.
func TestAxesHoldAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		to := math.Pow(10, rapid.Float64Range(-3, 13).Draw(t, "magnitude"))
		for name, a := range map[string]axis{"linear": linear(0, to, 5), "bytes": bytesAxis(0, to, 5)} {
			if a.from > 0 || a.to < to*(1-1e-9) {
				t.Fatalf("%s axis of %v is from %v to %v", name, to, a.from, a.to)
			}
			checkTicks(t, name, a, 1, 8)
		}
		from := time.Duration(rapid.Int64Range(-1e12, 1e12).Draw(t, "from"))
		span := time.Duration(math.Pow(10, rapid.Float64Range(4, 14).Draw(t, "span")))
		a := timeAxis(from, from+span, 10)
		if a.from != from.Seconds() || a.to != (from+span).Seconds() {
			t.Fatalf("axis of %v to %v is from %v to %v", from, from+span, a.from, a.to)
		}
		checkTicks(t, "time", a, 3, 12)
	})
}

func checkTicks(t *rapid.T, name string, a axis, least, most int) {
	if len(a.ticks) < least || len(a.ticks) > most || len(a.ticks) != len(a.labels) {
		t.Fatalf("%s: %d ticks, labels %q", name, len(a.ticks), a.labels)
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(a.labels))); len(sorted) != len(a.labels) {
		t.Fatalf("%s: labels %q", name, a.labels)
	}
	for i := range a.ticks {
		if at := a.at(a.ticks[i]); at < -1e-6 || at > 1+1e-6 {
			t.Fatalf("%s: tick %v is off the axis", name, a.ticks[i])
		}
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"rexload", "run", "--script", "echo 'a b'; exit $?", ""})
	if want := `rexload run --script 'echo '\''a b'\''; exit $?' ''`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWrap(t *testing.T) {
	got := fmt.Sprintf("%q", wrap("a bb   ccc dddddddd e\x1b\nf", 5))
	if want := `["a bb" "ccc" "ddddd" "ddd" "e? f"]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestThisMachine reads this machine.
func TestThisMachine(t *testing.T) {
	m, err := ThisMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU == "" || m.Cores < 1 || m.MemoryBytes < 1<<28 || !strings.HasPrefix(m.Kernel, "Linux ") || !strings.HasPrefix(m.Go, "go") && !strings.Contains(m.Go, "devel") || m.Descriptors == 0 {
		t.Errorf("%+v", m)
	}
	if got := FileSystem("/proc"); got == "" {
		t.Error("/proc is on nothing")
	}
	if got := FileSystem("/nowhere"); got != "" {
		t.Errorf("/nowhere is on %s", got)
	}
	if got := virtualisation([]byte("flags\t: fpu hypervisor sse\n")); !strings.Contains(got, "virtual machine") {
		t.Errorf("with the flag of a hypervisor: %q", got)
	}
}
