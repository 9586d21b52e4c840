package sessiontest

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client"
	"github.com/rexgate/rexgate/client/agent"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/gateway/keeper"
	"github.com/rexgate/rexgate/gateway/limits"
	"github.com/rexgate/rexgate/loadtest"
	"github.com/rexgate/rexgate/poll"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session/wire"
)

// What a machine does to a session that gives its processes a small part of a processor:
// sweeps run between any two steps, answers come late, and, where the lease is made shorter still, leases
// lapse while deliveries and acceptances are on their way. Nothing may be lost by that, and no wake-up.
const (
	starvedHosts = 8
	starvedJobs  = 8
	starvedLease = time.Second
	starvedSweep = 10 * time.Millisecond
)

func TestStarved(t *testing.T)        { testStarved(t, sqlite) }
func TestStarvedOnRedis(t *testing.T) { testStarved(t, redis(t)) }

// testStarved runs jobs on real agents, half of them over polls. All must run on all, in time.
func testStarved(t *testing.T, open Factory) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	store := open(t)
	url := serveStarved(t, store)
	targets := starvedAgents(t, store, url)
	stop := burn(2)
	defer stop()

	for n := range starvedJobs {
		began := time.Now()
		j := queue.Job{ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "tester", Selection: "hosts"}
		script := []byte(fmt.Sprintf("echo %d", n))
		j.ScriptSize, j.ScriptSHA256 = int64(len(script)), queue.ScriptDigest(script)
		if _, _, err := store.Submit(t.Context(), queue.NewJob{Job: j, Script: script, Targets: targets}); err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		for {
			st, err := store.Job(t.Context(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			if st.Counters.Done() == len(targets) {
				break
			}
			if time.Since(began) > 2*time.Minute {
				explain(t, store, j.ID)
				t.Fatalf("job %d isn't done: %v", n, st.Counters)
			}
			<-tick.C
		}
		tick.Stop()
		t.Logf("job %d took %v", n, time.Since(began).Round(time.Millisecond))
		explain(t, store, j.ID)
		if t.Failed() {
			return
		}
	}
}

// explain says which executions of a job haven't succeeded.
func explain(t *testing.T, store queue.Store, job queue.JobID) {
	t.Helper()
	xs, _, err := store.Executions(t.Context(), queue.ExecutionQuery{Job: job, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range xs {
		if x.State != queue.Succeeded {
			t.Errorf("%s is %v after %d deliveries: %q", x.ID(), x.State, x.Deliveries, x.Result.Reason)
		}
	}
}

func serveStarved(t *testing.T, store queue.Store) (url string) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all := map[limits.Class]limits.Limit{}
	for _, c := range limits.Classes() {
		free := limits.Rate{PerSecond: 1e6, Burst: 1e6}
		all[c] = limits.Limit{All: free, Each: free}
	}
	s, err := gateway.NewServer(gateway.ServerConfig{Listener: ln, DrainTime: time.Second, Gateway: gateway.Config{
		Store: store, Name: "gw-a", Signer: auth.NewSigner(key), LeaseTTL: starvedLease, Limits: all,
		Poll:   poll.Config{Rate: 1e5, MinInterval: time.Second},
		Keeper: keeper.Config{Look: 20 * time.Millisecond, Sweep: starvedSweep},
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gateway: %v", err)
		}
	})
	return "http://" + ln.Addr().String()
}

// anything is a policy that lets all jobs run.
type anything struct{}

func (anything) Check(*wire.Job) error { return nil }

// starvedAgents enrols hosts and runs their agents, whose scripts are simulated.
func starvedAgents(t *testing.T, store queue.Store, url string) (targets []queue.Target) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	for i := range starvedHosts {
		id := queue.HostID(fmt.Sprintf("host-%d", i))
		seed := sha256.Sum256([]byte(id))
		key := ed25519.NewKeyFromSeed(seed[:])
		rec, err := store.Enroll(t.Context(), queue.Enrollment{Host: id, PublicKey: key.Public().(ed25519.PublicKey)})
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, queue.Target{Host: id, Incarnation: rec.Incarnation})
		mode := client.ModeSocket
		if i%2 == 1 {
			mode = client.ModePoll
		}
		link, err := client.NewLink(client.Config{Gateways: []string{url}, Identity: client.NewIdentity(string(id), key), Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		a, err := agent.New(agent.Config{
			Dir: t.TempDir(), Runner: loadtest.NewSimRunner(), Fetch: link.Script, Policy: anything{}, Version: "test", BootID: "boot",
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := link.Run(ctx, a); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			if err := a.Close(); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	return targets
}

// burn keeps the processor busy with n goroutines.
func burn(n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var burning sync.WaitGroup
	for range n {
		burning.Go(func() {
			sum := sha256.Sum256(nil)
			for ctx.Err() == nil {
				sum = sha256.Sum256(sum[:])
			}
		})
	}
	return func() {
		cancel()
		burning.Wait()
	}
}
