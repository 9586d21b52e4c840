package stand

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/loadtest/report"
)

// fill gives what the sampler found.
func fill(s *Sampler, origin time.Time) report.Result {
	r := report.Result{Origin: origin}
	s.Fill(&r)
	return r
}

// of gives a role's phases by name.
func of(t *testing.T, r report.Result, role string) map[string]report.Usage {
	t.Helper()
	i := slices.IndexFunc(r.Processes, func(p report.Process) bool { return p.Role == role })
	if i < 0 {
		t.Fatalf("nothing of the role %s in %+v", role, r.Processes)
	}
	phases := map[string]report.Usage{}
	for _, u := range r.Processes[i].Phases {
		phases[u.Phase] = u
	}
	return phases
}

// TestSampler has a process use known amounts: each phase shows what it used in it.
func TestSampler(t *testing.T) {
	t.Parallel()
	h := startHelper(t, "burn")
	burn := func() {
		fmt.Fprintln(h.in)
		h.line()
	}
	s, err := StartSampler(t.Context(), 10*time.Millisecond, "start", Target{Role: "burner", PID: h.cmd.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	s.Phase(t.Context(), "one")
	burn()
	s.Phase(t.Context(), "quiet")
	s.Phase(t.Context(), "two")
	burn()
	burn()
	s.Phase(t.Context(), "over")
	h.in.Close()
	clienttest.Until(t, "the process has ended", func() bool { return ended(h.cmd.Process.Pid) })
	s.Stop(t.Context())
	s.Stop(t.Context())
	if err := s.Add(t.Context(), Target{Role: "late", PID: os.Getpid()}); err == nil {
		t.Error("a target was added after the end")
	}

	r := fill(s, time.Now())
	phases := of(t, r, "burner")
	// The kernel counts hundredths of a second.
	if got := time.Duration(phases["one"].CPU()); got < burntCPU-2*tick || got >= 2*burntCPU {
		t.Errorf("once burnt: %v of CPU, want about %v", got, burntCPU)
	}
	if got := time.Duration(phases["two"].CPU()); got < 2*burntCPU-2*tick || got < time.Duration(phases["one"].CPU()) {
		t.Errorf("twice burnt: %v of CPU, want about %v", got, 2*burntCPU)
	}
	if got := time.Duration(phases["quiet"].CPU()); got > 5*tick {
		t.Errorf("%v of CPU while nothing was asked for", got)
	}
	grown := phases["two"].RSSBytes - phases["quiet"].RSSBytes
	if grown < 2*burntMemory || grown > 3*burntMemory {
		t.Errorf("memory grew by %d bytes, want about %d", grown, 2*burntMemory)
	}
	if p := phases["two"].PSSBytes; p < 2*burntMemory || p > phases["two"].RSSBytes {
		t.Errorf("PSS is %d of an RSS of %d", p, phases["two"].RSSBytes)
	}
	if got := phases["two"].Descriptors - phases["quiet"].Descriptors; got != 2*burntFiles {
		t.Errorf("%d descriptors more, want %d", got, 2*burntFiles)
	}
	if phases["one"].Threads == 0 {
		t.Error("no threads")
	}
	if u := phases["over"]; u.RSSBytes != 0 || u.RSSPeak == 0 {
		t.Errorf("after the end: memory %d, peak %d", u.RSSBytes, u.RSSPeak)
	}
	if others := of(t, r, report.RoleOthers); len(others) != len(phases) {
		t.Errorf("phases of others: %+v", others)
	}
	if len(r.Kernel) != len(phases) || r.Kernel[0].SlabBytes == 0 {
		t.Errorf("kernel: %+v", r.Kernel)
	}
	for _, series := range r.Series {
		if len(series.Times) == 0 || len(series.Times) != len(series.Values) || !slices.IsSorted(series.Times) {
			t.Errorf("series %s of %s: %d times, %d values", series.Metric, series.Of, len(series.Times), len(series.Values))
		}
		if series.Times[0] >= 0 {
			t.Errorf("series %s of %s begins at %v, after an origin at its end", series.Metric, series.Of, series.Times[0])
		}
		if peak := slices.Max(series.Values); series.Metric == report.MetricCPU && series.Of == "burner" && peak < 0.2 {
			t.Errorf("never busier than %v cores", peak)
		}
	}
	if len(r.Errors) > 0 {
		t.Errorf("errors: %+v", r.Errors)
	}
}

// TestSampleStand samples real gateways and a store: what they say of themselves is there, too.
func TestSampleStand(t *testing.T) {
	t.Parallel()
	st := begin(t, Config{Store: Redis, Gateways: 2})
	s, err := StartSampler(t.Context(), time.Hour, report.PhaseStart, st.Targets()...)
	if err != nil {
		t.Fatal(err)
	}
	s.Phase(t.Context(), report.PhaseIdle)
	s.Stop(t.Context())
	r := fill(s, time.Now())
	gateways, store := of(t, r, report.RoleGateway)[report.PhaseIdle], of(t, r, report.RoleStore)[report.PhaseIdle]
	if gateways.More["goroutines"] < 10 || gateways.More["heap_bytes"] == 0 || gateways.RSSBytes < 10<<20 {
		t.Errorf("gateways: %+v", gateways)
	}
	if store.More["redis_used_bytes"] == 0 || store.More["redis_commands"] == 0 || store.RSSBytes == 0 {
		t.Errorf("store: %+v", store)
	}
	if r.Processes[0].Role != report.RoleGateway || r.Processes[0].Count != 2 {
		t.Errorf("first of the roles: %+v", r.Processes[0])
	}
}

// TestSampleElsewhere samples without a PID, as processes of another machine: by their own words alone.
func TestSampleElsewhere(t *testing.T) {
	t.Parallel()
	st := begin(t, Config{Store: Redis})
	local := st.Targets()
	s, err := StartSampler(t.Context(), time.Hour, report.PhaseStart,
		Target{Role: report.RoleGateway, Metrics: st.AdminURLs[0]}, Target{Role: report.RoleStore, Redis: st.Redis})
	if err != nil {
		t.Fatal(err)
	}
	s.Phase(t.Context(), report.PhaseIdle)
	if err := st.gateways[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-st.Failed()
	s.Stop(t.Context())
	_ = st.Close() // says what was killed

	r := fill(s, time.Now())
	gateway, store := of(t, r, report.RoleGateway), of(t, r, report.RoleStore)
	if u := gateway[report.PhaseStart]; u.RSSBytes < 10<<20 || u.Descriptors == 0 || u.More["goroutines"] == 0 {
		t.Errorf("gateway: %+v", u)
	}
	if u := store[report.PhaseIdle]; u.RSSBytes == 0 || u.More["redis_clients"] == 0 {
		t.Errorf("store: %+v", u)
	}
	if len(r.Errors) != 1 || r.Errors[0].Reason != "not sampled: gateway" || r.Errors[0].Example == "" {
		t.Errorf("a gateway that is gone: %+v", r.Errors)
	}
	if slices.ContainsFunc(r.Processes, func(p report.Process) bool { return p.Role == report.RoleOthers }) {
		t.Error("what else runs on another machine isn't known")
	}
	if _, err := StartSampler(t.Context(), time.Hour, "start", Target{Role: report.RoleGateway, Metrics: st.AdminURLs[0]}); err == nil {
		t.Error("sampling began of a gateway that is gone")
	}
	if _, err := StartSampler(t.Context(), time.Hour, "start", local[0]); err == nil {
		t.Error("sampling began of a process that is gone")
	}
}

// fakeProc is a /proc whose one process uses what a test says.
type fakeProc struct {
	t    *testing.T
	root string
}

func newFakeProc(t *testing.T) fakeProc {
	p := fakeProc{t, t.TempDir()}
	p.write("net/sockstat", "sockets: used 10\nTCP: inuse 5 orphan 0 tw 2 alloc 8 mem 3\nUDP: inuse 1 mem 0\n")
	p.write("net/sockstat6", "TCP6: inuse 2\nUDP6: inuse 9\n")
	p.write("meminfo", "MemTotal: 100 kB\nSlab:   64 kB\n")
	return p
}

func (p fakeProc) write(path, text string) {
	p.t.Helper()
	path = filepath.Join(p.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// process sets what the process and its ended children used, in ticks.
func (p fakeProc) process(user, system, children, start int) {
	p.t.Helper()
	p.write("7/stat", fmt.Sprintf("7 (a) R (b) S 1 7 7 0 -1 4194304 1 2 3 4 %d %d %d 0 20 0 9 0 %d 1000000 50 18446744073709551615 0 0\n", user, system, children, start))
}

// machine sets what the whole machine used, in ticks.
func (p fakeProc) machine(user, system, stolen int) {
	p.t.Helper()
	p.write("stat", fmt.Sprintf("cpu  %d 0 %d 99999 5 0 0 %d 0 0\ncpu0 1 1 1 1\n", user, system, stolen))
}

// TestSeries samples known values at known times.
func TestSeries(t *testing.T) {
	p := newFakeProc(t)
	p.process(100, 50, 1000, 77)
	p.machine(500, 100, 0)
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := newSampler(p.root, time.Second)
		if err := s.begin(t.Context(), "start", []Target{{Role: report.RoleFleet, PID: 7}}); err != nil {
			t.Fatal(err)
		}
		go s.run()
		// Half a core by the process, a quarter by others, within a second.
		p.process(140, 60, 2000, 77)
		p.machine(550, 125, 10)
		time.Sleep(1500 * time.Millisecond)
		s.Phase(t.Context(), "run")
		p.process(0, 0, 0, 78) // another process by the same number
		s.Stop(t.Context())

		r := fill(s, begun)
		want := report.Series{Metric: report.MetricCPU, Of: report.RoleFleet, Times: []report.Duration{report.Duration(time.Second), report.Duration(1500 * time.Millisecond)}, Values: []float64{0.5, 0}}
		if got := r.Series[0]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", got, want)
		}
		fleet, others := of(t, r, report.RoleFleet), of(t, r, report.RoleOthers)
		if u := fleet["start"]; u.User != report.Duration(400*time.Millisecond) || u.System != report.Duration(100*time.Millisecond) ||
			u.Took != report.Duration(1500*time.Millisecond) || u.Threads != 9 || u.RSSBytes != 50*int64(os.Getpagesize()) {
			t.Errorf("%+v", u)
		}
		if u := fleet["run"]; u.CPU() != 0 || u.RSSBytes != 0 {
			t.Errorf("another process was taken for it: %+v", u)
		}
		if u := others["start"]; u.CPU() != report.Duration(250*time.Millisecond) || u.More["stolen_s"] != 0.1 {
			t.Errorf("others: %+v", u)
		}
		k := report.Kernel{Phase: "start", Sockets: 7, TimeWait: 2, SocketBytes: 3 * int64(os.Getpagesize()), SlabBytes: 64 << 10}
		if r.Kernel[0] != k {
			t.Errorf("kernel: %+v", r.Kernel[0])
		}
	})
}

// TestChildrenCount counts the CPU time of ended children where that is asked for.
func TestChildrenCount(t *testing.T) {
	p := newFakeProc(t)
	p.process(1, 2, 40, 5)
	for _, children := range []bool{false, true} {
		r, err := readProcess(p.root, 7, children)
		want := tick
		if children {
			want += 40 * tick
		}
		if err != nil || r.user != want || r.system != 2*tick {
			t.Errorf("with children %v: %v and %v, %v", children, r.user, r.system, err)
		}
	}
}

// TestTicksAreBounded samples for long: the series gets coarser, and nothing of the CPU time is lost.
func TestTicksAreBounded(t *testing.T) {
	p := newFakeProc(t)
	p.process(0, 0, 0, 1)
	p.machine(0, 0, 0)
	s := newSampler(p.root, time.Second)
	if err := s.begin(t.Context(), "start", []Target{{Role: "x", PID: 7}}); err != nil {
		t.Fatal(err)
	}
	at := s.phases[0].begin
	begun := at.at
	const n = 5 * maxTicks
	for i := 1; i <= n; i++ {
		now := sample{at: begun.Add(time.Duration(i) * time.Second), roles: map[string]usage{"x": {user: time.Duration(i) * time.Second / 2, rss: int64(i) << 20}}}
		s.keep(now)
	}
	if len(s.ticks) > maxTicks || len(s.ticks) < maxTicks/2 {
		t.Fatalf("%d ticks are kept of %d", len(s.ticks), n)
	}
	r := fill(s, begun)
	for i, v := range r.Series[0].Values {
		if v != 0.5 {
			t.Fatalf("%v cores at %v, where it was 0.5 all the time", v, r.Series[0].Times[i])
		}
	}
	if peak := r.Processes[0].Phases[0].RSSPeak; peak != n<<20 {
		t.Errorf("peak %d of %d", peak, n)
	}
}

// TestBrokenProc reads what can't be read.
func TestBrokenProc(t *testing.T) {
	for _, line := range []string{"", "7 sh S 1", "7 (sh", "7 (sh) S 1 2 3", "7 (sh) S" + strings.Repeat(" x", 40)} {
		if r, err := parseStat([]byte(line), false); err == nil {
			t.Errorf("%q is read as %+v", line, r)
		}
	}
	if _, err := parseStat([]byte("7 (sh) Z"+strings.Repeat(" 0", 40)), false); err != errGone {
		t.Errorf("a zombie: %v", err)
	}
	p := newFakeProc(t)
	p.process(1, 1, 0, 1)
	p.machine(0, 0, 0)
	s := newSampler(p.root, time.Second)
	if err := s.begin(t.Context(), "start", []Target{{Role: "x", PID: 7}}); err != nil {
		t.Fatal(err)
	}
	p.write("stat", "nonsense")
	p.write("net/sockstat", "TCP: inuse many")
	s.endPhase(context.Background())
	r := fill(s, time.Now())
	if len(r.Errors) != 2 {
		t.Errorf("%+v", r.Errors)
	}
}
