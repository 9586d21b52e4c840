package client

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rexgate/rexgate/client/clienttest"
	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/poll"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
	"github.com/rexgate/rexgate/session/wire"
)

// service is the real one: gateways on one store, behind real sockets, and an
// enrolled host with a link.
type service struct {
	t      *testing.T
	store  queue.Store
	gws    []*gateway.Gateway
	front  []*httptest.Server
	broken atomic.Bool // upgrades are refused, as by a proxy
	signer *auth.Signer

	id     *HostIdentity
	host   queue.Host
	agent  *agent
	link   *Link
	status chan Status
	ended  chan error
	stop   context.CancelFunc
	jobs   []queue.JobID
}

func newService(t *testing.T, gateways int) *service {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	store, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := ed25519.GenerateKey(nil)
	s := &service{t: t, store: store, signer: auth.NewSigner(key), agent: newAgent(t), status: make(chan Status, 10_000), ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range gateways {
		g, err := gateway.New(gateway.Config{
			Store: store, Name: fmt.Sprint("gw-", i), Signer: s.signer, Log: log,
			Poll: poll.Config{MinInterval: 100 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.gws = append(s.gws, g)
		running.Go(func() {
			if err := g.Run(ctx); err != nil {
				t.Errorf("gateway ended: %v", err)
			}
		})
		s.front = append(s.front, httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.broken.Load() && r.URL.Path == wire.PathSocket {
				w.WriteHeader(http.StatusUpgradeRequired)
				return
			}
			g.ServeHTTP(w, r)
		})))
	}
	t.Cleanup(func() {
		if s.stop != nil {
			s.stop()
			<-s.ended
		}
		cancel()
		running.Wait()
		for _, f := range s.front {
			f.Close()
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s.enrol()
	return s
}

func (s *service) enrol() {
	s.t.Helper()
	token, _, err := s.signer.SignEnroll(auth.Grant{URL: s.front[0].URL}, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := EnrollConfig{Dir: filepath.Join(s.t.TempDir(), "state"), Token: token, Host: "web-1"}
	for _, f := range s.front {
		cfg.Gateways = append(cfg.Gateways, f.URL)
	}
	if s.id, err = Enroll(s.t.Context(), cfg); err != nil {
		s.t.Fatal(err)
	}
	if s.host, err = s.store.Host(s.t.Context(), "web-1"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) newLink(mode Mode) *Link {
	s.t.Helper()
	l, err := NewLink(Config{
		Gateways: s.id.Host().Gateways, Identity: s.id, Mode: mode,
		Log:      slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnStatus: func(st Status) { s.status <- st },
		Timing:   Timing{BackoffBase: 200 * time.Millisecond, StandbyFor: 500 * time.Millisecond, ProbeMin: 200 * time.Millisecond, ProbeMax: 400 * time.Millisecond},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (s *service) start(mode Mode) {
	s.t.Helper()
	s.link = s.newLink(mode)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- s.link.Run(ctx, s.agent) }()
}

func (s *service) until(what string, is func(Status) bool) Status {
	s.t.Helper()
	return (&real{t: s.t, link: s.link, status: s.status}).until(what, is)
}

func (s *service) up(tr Transport) Status {
	s.t.Helper()
	return s.until("a session over the "+string(tr), func(st Status) bool { return st.Up && st.Transport == tr })
}

// submit submits a job for the host, and releases it.
func (s *service) submit() {
	s.t.Helper()
	script := []byte("true\n")
	job := queue.NewJob{
		Job: queue.Job{
			ID: queue.NewJobID(time.Now()), Spec: queue.Spec{}.WithDefaults(), CreatedBy: "tester", Selection: "hosts",
			ScriptSize: int64(len(script)), ScriptSHA256: queue.ScriptDigest(script),
		},
		Script:  script,
		Targets: []queue.Target{{Host: s.host.ID, Incarnation: s.host.Incarnation}},
	}
	if _, _, err := s.store.Submit(s.t.Context(), job); err != nil {
		s.t.Fatal(err)
	}
	for done := false; !done; {
		x, err := s.store.Expand(s.t.Context(), job.Job.ID, "tester", 10)
		if err != nil {
			s.t.Fatal(err)
		}
		done = x.Done
	}
	s.jobs = append(s.jobs, job.Job.ID)
}

// finished waits until all jobs have succeeded, and checks what is stored of them.
func (s *service) finished() {
	s.t.Helper()
	var want strings.Builder
	for i := range s.agent.chunks {
		fmt.Fprintf(&want, "%0*d", s.agent.size, i)
	}
	for _, id := range s.jobs {
		clienttest.Until(s.t, fmt.Sprintf("job %s has succeeded", id), func() bool {
			x, err := s.store.Execution(s.t.Context(), id, s.host.ID)
			if err != nil {
				s.t.Fatal(err)
			}
			if x.State.Terminal() && x.State != queue.Succeeded {
				s.t.Fatalf("job %s is %s: %+v", id, x.State, x)
			}
			return x.State == queue.Succeeded
		})
		var got strings.Builder
		for {
			chunks, err := s.store.Output(s.t.Context(), queue.OutputQuery{Job: id, Host: s.host.ID, Stream: queue.Stdout, Offset: int64(got.Len()), Limit: 1 << 20})
			if err != nil {
				s.t.Fatal(err)
			}
			if len(chunks) == 0 {
				break
			}
			for _, c := range chunks {
				got.Write(c.Data)
			}
		}
		if got.String() != want.String() {
			s.t.Errorf("job %s: %d bytes of output stored, %d were written, or others", id, got.Len(), want.Len())
		}
	}
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	for id, x := range s.agent.xs {
		if x.gos != 1 {
			s.t.Errorf("%s was started %d times", id, x.gos)
		}
	}
	if len(s.agent.xs) != len(s.jobs) {
		s.t.Errorf("%d executions for %d jobs", len(s.agent.xs), len(s.jobs))
	}
}

// expired gives a context that ends at once.
func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
