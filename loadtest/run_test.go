package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/operator"
	"github.com/rexgate/rexgate/loadtest/report"
	"github.com/rexgate/rexgate/loadtest/stand"
)

// config is a run on a store.
func config(t *testing.T, store string, s Scenario) Config {
	t.Helper()
	if store == stand.Redis {
		need(t, "redis-server")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	limit, err := time.ParseDuration(patience)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Scenario: s, Hosts: 20, Worker: []string{"env", asWorker + "=1", self}, Patience: limit, Settle: 10 * time.Millisecond, Dir: t.TempDir(), Version: "test",
		Stand: stand.Config{Rexgate: rexgate, Store: store, Dir: t.TempDir(), StopTime: limit},
	}
}

// runAll runs, and checks what holds for every run that goes well.
func runAll(t *testing.T, c Config) *report.Result {
	t.Helper()
	var progress bytes.Buffer
	c.Progress, c.ProgressEvery = &progress, 100*time.Millisecond
	o, err := Run(t.Context(), c)
	if err != nil || len(o.Wrong) > 0 {
		t.Fatalf("%v, wrong: %q\n%s", err, o.Wrong, &progress)
	}
	r := o.Result
	if r.Executions["succeeded"] != c.Hosts || len(r.Executions) != 1 {
		t.Errorf("executions: %v", r.Executions)
	}
	for _, s := range r.Steps {
		if s.ByStore == nil || s.ByFleet == nil || s.ByStore.Count != int64(c.Hosts) || s.ByFleet.Count != int64(c.Hosts) || s.ByFleet.Min <= 0 {
			t.Errorf("step %s: by the store %+v, by the fleet %+v", s.Name, s.ByStore, s.ByFleet)
		}
	}
	if len(r.Steps) != 5 {
		t.Errorf("%d steps", len(r.Steps))
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("the hosts' directory holds %v, %v", left, err)
	}
	for _, want := range []string{"enrolled", "connected", "stored"} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("the progress says nothing of %q:\n%s", want, &progress)
		}
	}
	return r
}

// TestMixedFleet runs a job on hosts with both transports, carried by two workers, on each store.
func TestMixedFleet(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"sqlite": func(c *Config) {},
		"redis":  func(c *Config) { c.Stand.Gateways, c.Stand.TLS, c.Volatile = 2, true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t, name, Script("echo hello; sleep 1; echo bye"))
			c.Hosts, c.Workers, c.CheckOutput = 200, 2, -1
			c.Mix, _ = ParseMix("socket=80,poll=20")
			change(&c)
			r := runAll(t, c)
			f := r.Fleet
			if f.Hosts != 200 || f.Transports["socket"] != 160 || f.Transports["poll"] != 40 || f.Processes != 2 || f.Runner != "simulated" || f.Journal == "" {
				t.Errorf("fleet: %+v", f)
			}
			roles := map[string]int{}
			for _, p := range r.Processes {
				roles[p.Role] = p.Count
			}
			if roles[report.RoleFleet] != 2 || roles[report.RoleGateway] != max(1, c.Stand.Gateways) {
				t.Errorf("processes: %v", roles)
			}
			for _, s := range r.Steps {
				if got := time.Duration(s.ByFleet.Min); s.Name == report.StepFinished && got < time.Second {
					t.Errorf("the first has finished after %v, and slept a second", got)
				}
			}
		})
	}
}

// TestRealFleet runs supervised processes, of a script that only a shell understands.
func TestRealFleet(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("echo $((40+2)) | tr 2 3 >&2\n"))
	c.Hosts, c.Real = 5, true
	if f := runAll(t, c).Fleet; f.Runner != "real" {
		t.Errorf("fleet: %+v", f)
	}
}

func TestIdleScenario(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, idle())
	c.For = time.Second
	r := runAll(t, c)
	names := map[string]bool{}
	for _, f := range r.Figures {
		names[f.Name] = true
	}
	for _, want := range []string{"memory of the gateway, idle, per host", "memory of the fleet, idle, per host", "CPU of the gateway, idle, per host and minute"} {
		if !names[want] {
			t.Errorf("there is no figure %q in %v", want, r.Figures)
		}
	}
}

func TestPollScenario(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, polls())
	c.For = 3 * time.Second
	c.Stand.Args = []string{"--poll-interval=1s"}
	p := runAll(t, c).Polls
	if p == nil || p.Empty == nil || p.Interval == nil || p.PerSecond <= 0 || p.Answers["204"] == 0 {
		t.Fatalf("polls: %+v", p)
	}
	if p.Empty.Count < int64(c.Hosts) || time.Duration(p.Interval.Min) < time.Second {
		t.Errorf("empty polls %+v, intervals %+v", p.Empty, p.Interval)
	}
}

// TestRefusals holds that hosts whom the gateway's admission turns away come back as they are told, and that the
// report counts them.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("echo hello"))
	c.Hosts = 20
	c.Stand.Args = []string{"--reconnect-hosts=10", "--reconnect-window=1s"} // ten at once
	r := runAll(t, c)
	for _, e := range r.Errors {
		if strings.HasPrefix(e.Reason, "attempt by socket: refused: upgrade: answered 503") && e.Count > 0 && e.Example != "" {
			return
		}
	}
	t.Errorf("the errors are %+v", r.Errors)
}

// TestWrong holds that a run in which something was lost says so.
func TestWrong(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("echo hello"))
	c.Scenario.do = func(ctx context.Context, r *run) error {
		r.cfg.Scenario.Script = "rm -rf nothing" // which simulated hosts refuse
		return oneJob(ctx, r)
	}
	o, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Wrong) != 1 || !strings.Contains(o.Wrong[0], "20 executions are rejected") || !strings.Contains(o.Wrong[0], `the command "rm -rf nothing"`) {
		t.Errorf("wrong: %q", o.Wrong)
	}
}

// TestService runs twice against a service that stays, with one fleet, and then with another that leaves nothing.
func TestService(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("echo hello"))
	s, err := stand.Start(t.Context(), c.Stand)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	op, err := operator.New(operator.Options{Server: s.URLs[0], Token: operator.TokenFile(s.Token)})
	if err != nil {
		t.Fatal(err)
	}
	hosts := func() int {
		l, err := op.HostPage(t.Context(), operator.HostQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(l.Hosts)
	}
	c.Server, c.Token, c.State = s.URLs[0], operator.TokenFile(s.Token), filepath.Join(t.TempDir(), "state")
	c.Metrics = s.AdminURLs
	c.Hosts = 10
	runAll(t, c)
	c.Hosts = 15
	r := runAll(t, c)
	if n := hosts(); n != 15 || !r.Stand.Remote {
		t.Errorf("%d hosts, service %+v", n, r.Stand)
	}
	sampled := false
	for _, p := range r.Processes {
		sampled = sampled || p.Role == report.RoleGateway && p.Phases[0].RSSBytes > 0
	}
	if !sampled {
		t.Errorf("the gateway wasn't sampled: %+v", r.Processes)
	}
	c.Hosts = 12 // fewer than are enrolled: the others are left out
	runAll(t, c)
	c.State = ""
	runAll(t, c)
	if n := hosts(); n != 15 {
		t.Errorf("%d hosts afterwards", n)
	}
}

// TestWorkerKilled holds that a run ends when a worker does, and says why.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("echo hello; sleep 1000"))
	do := c.Scenario.do
	c.Scenario.do = func(ctx context.Context, r *run) error {
		time.AfterFunc(0, func() { syscall.Kill(r.crew.pids()[0], syscall.SIGKILL) })
		return do(ctx, r)
	}
	_, err := Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "a worker ended before its time: signal: killed") {
		t.Errorf("%v", err)
	}
}

// TestParentGone holds that a worker whose parent was killed ends, and leaves nothing.
func TestParentGone(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := exec.Command(self)
	w.Env = append(os.Environ(), asWorker+"=1")
	in, err := w.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	w.Stderr = &said
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "hosts")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mix, _ := ParseMix("socket=1,poll=1")
	for _, o := range []order{
		{Do: doFleet, Fleet: &fleetOrder{Identity: NewIdentity(), To: 10, Hosts: 10, Mix: mix, Gateways: []string{"http://127.0.0.1:1"}, Dir: dir}},
		{Do: doConnect, Rate: 1000},
	} {
		if err := json.NewEncoder(in).Encode(o); err != nil {
			t.Fatal(err)
		}
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), `"done":"connect"`) {
			break
		}
	}
	if hosts, err := os.ReadDir(dir); err != nil || len(hosts) != 10 {
		t.Errorf("%d hosts' directories, %v", len(hosts), err)
	}
	out.Close()
	in.Close()
	w.Wait() // it ends with the error that nobody takes notices, or without
	if w.ProcessState.ExitCode() < 0 {
		t.Errorf("it ended by %v", w.ProcessState)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the hosts' directory is still there: %v\n%s", err, &said)
	}
}

// TestInterrupted holds that nothing is left of a run that was ended.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	c := config(t, stand.SQLite, Script("sleep 1000"))
	c.Hosts, c.Real = 3, true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pids []int
	do := c.Scenario.do
	c.Scenario.do = func(ctx context.Context, r *run) error {
		pids = r.crew.pids()
		go func() {
			for r.crew.counts().Started < 3 && ctx.Err() == nil {
				sleep(ctx, 10*time.Millisecond)
			}
			cancel()
		}()
		return do(ctx, r)
	}
	if _, err := Run(ctx, c); err == nil {
		t.Fatal("it went on")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("the worker %d is still there", pid)
		}
	}
	if out, err := exec.Command("pgrep", "-f", c.Dir).Output(); err == nil {
		t.Errorf("processes are left: %s", out)
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("the hosts' directory holds %v, %v", left, err)
	}
}
