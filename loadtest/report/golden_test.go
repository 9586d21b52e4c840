package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -update writes it anew, then look at the difference. It is now:\n%s", file, got)
	}
}

// sample is a result with something in every field, always the same.
func sample() *Result {
	random := rand.New(rand.NewPCG(1, 2))
	begun := time.Date(2025, 11, 22, 15, 4, 5, 0, time.UTC)
	const hosts = 5000
	r := &Result{
		Format: Format, Scenario: "echo-sleep", Command: []string{"rexload", "run", "echo-sleep", "--hosts", "5000", "--store", "redis", "--gateways", "2", "--tls", "--transport", "socket=90,poll=10", "--out", "result"},
		Started: begun, Took: Duration(48*time.Second + 123456789), Origin: begun.Add(30 * time.Second),
		Notes: []string{"output checked: sizes of 5000 executions, bytes of 200", "2 executions were delivered more than once"},
		Machine: Machine{CPU: "Example 9000 at 2.30 GHz", Cores: 2, MemoryBytes: 24 << 30, System: "Debian GNU/Linux 13 (trixie)", Kernel: "Linux 6.18.44", Go: "go1.26.8",
			Virtualisation: "virtual machine", Load: [3]float64{0.25, 0.5, 1.125}, Descriptors: 20000},
		Stand: Stand{Rexgate: "v0.1.0", Gateways: 2, GatewayArgs: []string{"--reconnect-hosts=5000", "--reconnect-window=1s"}, TLS: true, Store: "redis", StoreVersion: "7.0.15",
			StoreSettings: []string{"appendonly=yes", "appendfsync=everysec", "maxmemory-policy=noeviction"}, StoreDisk: "ext4"},
		Fleet: Fleet{Hosts: hosts, Transports: map[string]int{"socket": 4500, "poll": 500}, Processes: 1, Addresses: 5, Runner: "simulated", Journal: "tmpfs (/dev/shm)", Version: "v0.1.0"},
		Job: &Job{ID: "j-1", Script: "echo hello; sleep 10; echo bye", Submit: Duration(12345678), RunTimeout: Duration(time.Hour), Lane: "default",
			Settings: map[string]any{"settle_s": 2.0}},
		Polls:      &Polls{PerSecond: 498.7, Answers: map[string]int{"200": 1000, "204": 24000, "503": 3}},
		Executions: map[string]int{"succeeded": 4998, "lost": 2},
		Errors: []Error{{Reason: "upgrade refused", Count: 1234, Example: "503 Service Unavailable: come back in 3 s"},
			{Reason: "not sampled: gateway", Count: 1, Example: "a \x1b[31mhostile\x1b[0m <text> & \u202eso on"}},
		Figures: []Figure{{Name: "submit to last result stored", Unit: "s", Measured: 12.34, Design: 11},
			{Name: "memory of the gateway, idle, per host", Unit: "bytes", Measured: 15200, Design: 9216, Note: "the design's is behind a TLS terminator, this is with TLS in the gateway itself"},
			{Name: "executions stored, at best", Unit: "/s", Measured: 4321, More: true}},
	}
	stretch := func(d time.Duration) Duration { return Duration(d) }
	var before [hosts]time.Duration
	for i, name := range []string{StepLeased, StepAccepted, StepStarted, StepFinished, StepStored} {
		var fleet, store Recorder
		for h := range before {
			if name == StepFinished {
				before[h] += 10 * time.Second
			}
			before[h] += time.Duration(random.ExpFloat64()*float64([]int{300, 80, 20, 60, 120}[i])) * time.Millisecond
			fleet.Add(before[h])
			store.Add(before[h] - 3*time.Millisecond)
		}
		r.Steps = append(r.Steps, Step{Name: name, ByStore: store.Distribution(), ByFleet: fleet.Distribution()})
		r.Series = append(r.Series, fleet.Done(name, 200), fleet.Rate(name, 100*time.Millisecond))
	}
	var empty, interval Recorder
	for range 24000 {
		empty.Add(time.Duration(1e6 + random.ExpFloat64()*1e6))
		interval.Add(time.Duration(1e9 + random.Float64()*1e8))
	}
	r.Polls.Empty, r.Polls.Interval = empty.Distribution(), interval.Distribution()
	r.Polls.Interval.Every = 2

	phases := []struct {
		name        string
		begin, took time.Duration
	}{{PhaseStart, -30 * time.Second, time.Second}, {PhaseEnroll, -29 * time.Second, 9 * time.Second}, {PhaseConnect, -20 * time.Second, 15 * time.Second},
		{PhaseIdle, -5 * time.Second, 5 * time.Second}, {PhaseRun, 0, 12*time.Second + 340*time.Millisecond}, {PhaseAfter, 12*time.Second + 340*time.Millisecond, 5 * time.Second}}
	hostsUp := Series{Metric: MetricHosts, Of: "socket"}
	for i, role := range []string{RoleGateway, RoleStore, RoleFleet, RoleOthers} {
		p := Process{Role: role, Count: []int{2, 1, 1, 0}[i]}
		cpu, rss := Series{Metric: MetricCPU, Of: role}, Series{Metric: MetricRSS, Of: role}
		for k, ph := range phases {
			u := Usage{Phase: ph.name, Begin: stretch(ph.begin), Took: stretch(ph.took), User: Duration(float64(ph.took) * 0.1 * float64(k)), System: Duration(float64(ph.took) * 0.05)}
			if role != RoleOthers {
				u.RSSBytes = int64(30+20*min(k, 4)*(i+1)) << 20
				u.RSSPeak, u.PSSBytes, u.Threads, u.Descriptors = u.RSSBytes+3<<20, u.RSSBytes-2<<20, 9+i, 20+900*k
				u.More = map[string]float64{"goroutines": 25 + float64(4500*k), "heap_bytes": float64(u.RSSBytes) * 0.8}
			} else if k == 4 {
				u.More = map[string]float64{"stolen_s": 0.12}
			}
			p.Phases = append(p.Phases, u)
			for at := ph.begin; at < ph.begin+ph.took; at += 250 * time.Millisecond {
				wave := 0.12 * float64(k) * math.Abs(math.Sin(at.Seconds()*float64(i+1)))
				cpu.Add(at, wave+0.05)
				rss.Add(at, float64(u.RSSBytes)*(0.9+0.1*(at-ph.begin).Seconds()/ph.took.Seconds()))
				if i == 0 {
					hostsUp.Add(at, 4500*min(1, max(0, (at.Seconds()+20)/15)))
				}
			}
		}
		r.Processes = append(r.Processes, p)
		r.Series = append(r.Series, cpu)
		if role != RoleOthers {
			r.Series = append(r.Series, rss)
		}
	}
	r.Series = append(r.Series, hostsUp)
	for k, ph := range phases {
		r.Kernel = append(r.Kernel, Kernel{Phase: ph.name, Sockets: 10 + 2000*k, TimeWait: 3 * k, SocketBytes: int64(k) << 20, SlabBytes: int64(90+20*k) << 20})
	}
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	if err := Text(&b, sample()); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(b.String(), "\n") {
		if n := len([]rune(line)); n > width {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
	golden(t, "result.txt", b.Bytes())
}

// TestTextOfLittle shows a run that measured next to nothing.
func TestTextOfLittle(t *testing.T) {
	r := &Result{Format: Format, Scenario: "idle", Command: []string{"rexload", "run", "idle"}, Stand: Stand{Remote: true, Gateways: 1}, Fleet: Fleet{Hosts: 1, Processes: 1, Addresses: 1, Runner: "simulated", Journal: "memory"}}
	var b bytes.Buffer
	if err := Text(&b, r); err != nil {
		t.Fatal(err)
	}
	golden(t, "little.txt", b.Bytes())
	if plots := Plots(r); len(plots) > 0 {
		t.Errorf("%d plots of nothing", len(plots))
	}
}

func TestPlots(t *testing.T) {
	plots := Plots(sample())
	var names []string
	for _, p := range plots {
		names = append(names, p.Name)
		golden(t, p.Name+".svg", p.SVG)
		checkXML(t, p)
	}
	if got := strings.Join(names, " "); got != "completion rate hosts cpu memory" {
		t.Errorf("plots: %s", got)
	}
}

// checkXML reads a picture as XML, and looks for what would make it depend on others.
func checkXML(t *testing.T, p Plot) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(p.SVG)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s: %s has %s=%q", p.Name, e.Name.Local, a.Name.Local, a.Value)
				}
			}
			if e.Name.Local == "script" || e.Name.Local == "image" || e.Name.Local == "foreignObject" {
				t.Errorf("%s: there is a %s in it", p.Name, e.Name.Local)
			}
		}
	}
}

// TestHostilePlot has markup where names are.
func TestHostilePlot(t *testing.T) {
	r := sample()
	r.Scenario = `"/><script>alert(1)</script>`
	for i := range r.Series {
		r.Series[i].Of = `<img src=x onerror='alert(1)'>` + "\x00\x1b"
	}
	for _, p := range Plots(r) {
		checkXML(t, p)
	}
}

// TestRoundTrip writes a result and reads it back: nothing is lost, and a second writing gives the same bytes.
func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	want := sample()
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		t.Errorf("read back:\n%.3000s\nwritten:\n%.3000s", a, b)
	}
	first, err := os.ReadFile(filepath.Join(dir, ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Marshal(got); err != nil || !bytes.Equal(again, first) {
		t.Errorf("written again it differs: %v", err)
	}
	golden(t, "head.json", first[:bytes.Index(first, []byte(`"series"`))])

	// Show makes the rest anew.
	for _, name := range []string{TextFile, "cpu.svg"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := Show(&b, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, TextFile))
	if err != nil || !bytes.Equal(text, b.Bytes()) || b.Len() == 0 {
		t.Errorf("%s isn't what was shown: %v", TextFile, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cpu.svg")); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, says := range map[string]string{
		`{`:              "unexpected end",
		`{}`:             "format 0",
		`{"format": 99}`: "format 99",
		`{"format": 1, "series": [{"metric": "cpu", "of": "x", "times_s": [1], "values": []}]}`: "1 times and 0 values",
		`{"format": 1, "took_s": "soon"}`: "no number of seconds",
	} {
		file := filepath.Join(t.TempDir(), "x.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if r, err := Read(writeFile(t, `{"format": 1, "unknown": [1], "machine": {"cpu": "x", "more": 1}}`)); err != nil || r.Machine.CPU != "x" {
		t.Errorf("with fields that aren't known: %v", err)
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
