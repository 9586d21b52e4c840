package sessiontest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/session"
	"github.com/rexgate/rexgate/session/wire"
)

// patience is how long something may take that should come at once.
const patience = 30 * time.Second

// world is a store, two gateways on it, and a transport.
type world struct {
	t     *testing.T
	kind  queue.Transport
	store *Flaky
	hubs  []*session.Hub
	car   Carrier

	mu   sync.Mutex
	acks map[queue.HostID]int // seen by Config.Recorded
}

func newWorld(t *testing.T, open Factory, tr Transport) *world {
	w := &world{t: t, kind: tr.Kind, store: &Flaky{Store: open(t)}, acks: map[queue.HostID]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, name := range []string{"gw-a", "gw-b"} {
		hub := session.NewHub(w.store, session.Config{
			Gateway: name, LeaseTTL: time.Second,
			Recorded: func(h queue.HostID, acks []queue.Ack) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.acks[h] += len(acks)
			},
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		w.hubs = append(w.hubs, hub)
		running.Go(func() {
			if err := hub.Run(ctx); err != nil {
				t.Errorf("hub ended: %v", err)
			}
		})
	}
	// Cleanups run last first: the carrier ends, then the hubs, then the store.
	t.Cleanup(func() {
		w.store.Away(false)
		cancel()
		running.Wait()
	})
	w.car = tr.Start(t, w.hubs)
	return w
}

// host enrols a host, and gives its end.
func (w *world) host(id queue.HostID) *host {
	w.t.Helper()
	key, _, _ := ed25519.GenerateKey(nil)
	rec, err := w.store.Enroll(w.t.Context(), queue.Enrollment{Host: id, PublicKey: key, Replace: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return &host{
		world: w, t: w.t, peer: session.Peer{Host: id, Incarnation: rec.Incarnation},
		generation: "gen-" + string(id), nonce: "process-1", slots: map[string]int{"default": 1, "urgent": 1},
		inHand: map[string]wire.InHand{},
	}
}

// submit submits a script for hosts, and releases it.
func (w *world) submit(script string, spec queue.Spec, hosts ...*host) queue.JobID {
	w.t.Helper()
	job := queue.NewJob{
		Job: queue.Job{
			ID: queue.NewJobID(time.Now()), Spec: spec.WithDefaults(), CreatedBy: "tester", Selection: "hosts",
			ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest([]byte(script)),
		},
		Script: []byte(script),
	}
	for _, h := range hosts {
		job.Targets = append(job.Targets, queue.Target{Host: h.peer.Host, Incarnation: h.peer.Incarnation})
	}
	ctx := w.t.Context()
	if _, _, err := w.store.Submit(ctx, job); err != nil {
		w.t.Fatal(err)
	}
	for {
		x, err := w.store.Expand(ctx, job.Job.ID, "tester", 100)
		if err != nil {
			w.t.Fatal(err)
		}
		if x.Done {
			return job.Job.ID
		}
	}
}

// cancel cancels a job.
func (w *world) cancel(job queue.JobID) {
	w.t.Helper()
	if _, err := w.store.Cancel(w.t.Context(), job, nil, "tester"); err != nil {
		w.t.Fatal(err)
	}
}

// execution reads a record.
func (w *world) execution(job queue.JobID, h *host) queue.Execution {
	w.t.Helper()
	x, err := w.store.Execution(w.t.Context(), job, h.peer.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// state fails unless an execution is in a state.
func (w *world) state(job queue.JobID, h *host, want queue.State) {
	w.t.Helper()
	if got := w.execution(job, h).State; got != want {
		w.t.Fatalf("execution is %v, want %v", got, want)
	}
}

// until asks again and again; for what gives no sign of itself.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(end) {
			w.t.Fatalf("it takes too long until %s", what)
		}
	}
}

// output reads all output of an execution as text.
func (w *world) output(job queue.JobID, h *host, stream queue.Stream) string {
	w.t.Helper()
	var b strings.Builder
	for {
		chunks, err := w.store.Output(w.t.Context(), queue.OutputQuery{
			Job: job, Host: h.peer.Host, Stream: stream, Offset: int64(b.Len()), Limit: 1 << 20,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(chunks) == 0 {
			return b.String()
		}
		for _, c := range chunks {
			b.Write(c.Data)
		}
	}
}

// ErrAway is the cause in the errors of a Flaky store.
var ErrAway = errors.New("the store was told to be away")

// Flaky is a store whose verbs of sessions fail on demand.
type Flaky struct {
	queue.Store
	away  atomic.Bool
	tries atomic.Int64
}

// Away makes the store fail from now on, or work again.
func (f *Flaky) Away(away bool) { f.away.Store(away) }

// Tries is how many calls failed.
func (f *Flaky) Tries() int64 { return f.tries.Load() }

func (f *Flaky) err() error {
	if !f.away.Load() {
		return nil
	}
	f.tries.Add(1)
	return queue.Errorf(queue.Unavailable, "%w", ErrAway)
}

// Claim implements queue.Sessions.
func (f *Flaky) Claim(ctx context.Context, c queue.Claim) (queue.Claimed, error) {
	if err := f.err(); err != nil {
		return queue.Claimed{}, err
	}
	return f.Store.Claim(ctx, c)
}

// Release implements queue.Sessions.
func (f *Flaky) Release(ctx context.Context, h queue.HostID, session int64) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.Release(ctx, h, session)
}

// Lease implements queue.Sessions.
func (f *Flaky) Lease(ctx context.Context, q queue.Fetch) (queue.Fetched, error) {
	if err := f.err(); err != nil {
		return queue.Fetched{}, err
	}
	return f.Store.Lease(ctx, q)
}

// Record implements queue.Sessions.
func (f *Flaky) Record(ctx context.Context, h queue.HostEvents) ([]queue.Ack, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Store.Record(ctx, h)
}

// Host implements queue.Hosts.
func (f *Flaky) Host(ctx context.Context, id queue.HostID) (queue.Host, error) {
	if err := f.err(); err != nil {
		return queue.Host{}, err
	}
	return f.Store.Host(ctx, id)
}
