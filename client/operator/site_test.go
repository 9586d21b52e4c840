package operator

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/rexgate/rexgate/gateway"
	"github.com/rexgate/rexgate/gateway/auth"
	"github.com/rexgate/rexgate/queue"
	"github.com/rexgate/rexgate/queue/sqlitequeue"
)

// site is a real gateway on a real store. Its hosts are played on the store, as if another
// gateway carried them.
type site struct {
	t     *testing.T
	store queue.Store
	addr  string
	token string
}

func newSite(t *testing.T, hosts ...queue.HostID) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(t.TempDir(), "rexgate.db"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, h := range hosts {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Enroll(t.Context(), queue.Enrollment{Host: h, PublicKey: pub, Labels: map[string]string{"role": "web"}, Token: "t", Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	signer := auth.NewSigner(key)
	server, err := gateway.NewServer(gateway.ServerConfig{Listener: ln, DrainTime: 10 * time.Second,
		Gateway: gateway.Config{Store: store, Name: "gw", Signer: signer, PublicURL: "http://gate.test", Log: log}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	token, _, err := signer.SignOperator(auth.Operator{Subject: "ann", Scopes: auth.Scopes()}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, store: store, addr: ln.Addr().String(), token: token}
}

func (s *site) client(addr string) *Client {
	s.t.Helper()
	c, err := New(Options{Server: "http://" + addr, Token: StaticToken(s.token)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// run plays a host that takes one job and does as told: it puts out the pieces one by one.
func (s *site) run(ctx context.Context, host queue.HostID, outcome queue.State, pieces [][]byte, pause time.Duration) error {
	c, err := s.store.Claim(ctx, queue.Claim{Host: host, Incarnation: 1, Gateway: "gw-2", Transport: queue.TransportSocket,
		Generation: "g", Nonce: "n", BootID: "b", AgentVersion: "1"})
	if err != nil {
		return err
	}
	var d queue.Delivery
	for d.Token == "" {
		f, err := s.store.Lease(ctx, queue.Fetch{Host: host, Session: c.Session, Gateway: "gw-2", After: c.N, Max: 1, TTL: time.Minute})
		if err != nil {
			return err
		}
		if len(f.Deliveries) > 0 {
			d = f.Deliveries[0]
		} else if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	events := []queue.Event{{Kind: queue.EventAccepted, Token: d.Token, Position: 1}, {Kind: queue.EventStarted}}
	for i, p := range pieces {
		stream := queue.Stdout
		if i%5 == 4 {
			stream = queue.Stderr
		}
		events = append(events, queue.Event{Kind: queue.EventOutput, Stream: stream, Data: p})
	}
	code := 0
	if outcome != queue.Succeeded {
		code = 7
	}
	events = append(events, queue.Event{Kind: queue.EventFinished, Outcome: outcome, ExitCode: code})
	for i, e := range events {
		e.Execution, e.Seq, e.At = d.Execution.ID(), int64(i+1), time.Now()
		acks, err := s.store.Record(ctx, queue.HostEvents{Host: host, Incarnation: 1, Generation: "g", Events: []queue.Event{e}})
		if err != nil {
			return err
		}
		if acks[0].Stored != e.Seq {
			return fmt.Errorf("event %d: stored %d, %s %s", e.Seq, acks[0].Stored, acks[0].Verdict, acks[0].Reason)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
